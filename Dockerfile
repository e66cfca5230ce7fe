# zoo-bench on the CPU: docker build -t zoo-bench . && docker run --rm -v "$PWD:/work" zoo-bench run --dataset zrr
# The second line below is the installation that README's first command makes; the base has what it needs.
FROM python:3.12-slim
COPY . /src
RUN python3 -m venv /opt/venv && /opt/venv/bin/pip install -q --extra-index-url https://download.pytorch.org/whl/cpu /src
WORKDIR /work
ENTRYPOINT ["/opt/venv/bin/zoo-bench"]
