"""Files of weights by their addresses, on the Hugging Face Hub or elsewhere on the web: kept, and checked by digest.

``huggingface_hub`` downloads both kinds and keeps them in its own cache (``HF_HOME``), which it shares with other
programs. A file is used only if its sha256 is the one that was asked for.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from benchmark.cleaning import is_file_name
from benchmark.reporting import Reporter
from zoo.errors import UserError, in_one_line, shortened
from zoo.official import official_files
from zoo.weights import file_digest
from zoo.writing import whole_file

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_HUB = re.compile(r"hf://([^/@#\s]+/[^/@#\s]+)/([^@#\s]+?)(?:@([^@#\s]+))?")
_DIGEST = re.compile(r"sha256=([0-9a-fA-F]{64})")
_FORMS = "hf://OWNER/REPOSITORY/FILE@REVISION#sha256=DIGEST or https://HOST/FILE#sha256=DIGEST"
# A TensorFlow checkpoint is two files, and its digest that of their contents one after the other.
_INDEX, _DATA = ".index", ".data-00000-of-00001"


def is_address(text: object) -> bool:
    """Return whether a text is the address of a file on the web, and no path."""
    return isinstance(text, str) and _ADDRESS.match(text) is not None


def fetch_weights(address: str, *, trust: bool = False, reporter: Reporter | None = None) -> Path:
    """Return the file at ``hf://OWNER/REPOSITORY/FILE@REVISION`` or ``https://HOST/FILE``, downloaded if need be.

    ``#sha256=DIGEST`` at the end says what the file must hold; the published files that ``zoo-bench list weights``
    shows need none. Without a digest a file is taken only with ``trust``, and its digest is reported. ``http://`` needs
    a digest. Of a TensorFlow checkpoint give NAME.index: the other file is downloaded too.

    Raises UserError for an address of another form, a file that has no digest and is not trusted, one whose digest
    differs, which is not used, and one that cannot be downloaded and is not kept from an earlier time.
    """
    place, sign, check = address.partition("#")
    name = shortened(address, 400)
    if ".." in place.split("/") or not (place.startswith(("https://", "http://")) or _HUB.fullmatch(place)):
        raise UserError(f"weights: {name} is no address of a file that can be fetched; expected {_FORMS}.")
    given = _DIGEST.fullmatch(check)
    if sign and not given:
        raise UserError(f"weights: {name}: after # expected sha256= and 64 hexadecimal digits.")
    wanted = given[1].lower() if given else _known_digest(place)
    if wanted is None and not (trust and not place.startswith("http://")):
        way = "" if place.startswith("http://") else ", or pass --trust to take whatever it holds"
        raise UserError(f"weights: {name} comes without a digest; append #sha256=DIGEST{way}.")
    with _explained(place):
        files = _kept(place, wanted)
        if files is None:
            (reporter or Reporter()).note(f"fetching {name}")
            files = [_fetched(part, wanted) for part in _parts(place)]
    found = file_digest(*files)
    if wanted is None:
        (reporter or Reporter()).note(f"{name}: taken without a check; its digest is #sha256={found}")
    elif found != wanted:
        if not place.startswith("hf://"):
            for file in files:
                file.unlink(missing_ok=True)
        raise UserError(
            f"weights: {name}: the sha256 of the file there is {found}, expected {wanted}; it is not used. It was"
            " changed or damaged, or the digest is that of another file."
        )
    return files[0]


def _known_digest(place: str) -> str | None:
    return next((file.sha256 for file in official_files() if file.address == place), None)


def _parts(place: str) -> list[str]:
    return [place, place.removesuffix(_INDEX) + _DATA] if place.endswith(_INDEX) else [place]


def _kept(place: str, wanted: str | None) -> list[Path] | None:
    """Return the files if they are kept from an earlier time and are the wanted ones: then no network is needed."""
    import huggingface_hub  # heavy, and rarely needed

    found = []
    for part in _parts(place):
        hub = _HUB.fullmatch(part)
        file = (
            huggingface_hub.try_to_load_from_cache(hub[1], hub[2], revision=hub[3]) if hub else _place_of(part, wanted)
        )
        if not isinstance(file, (str, Path)) or not Path(file).is_file():
            return None
        found.append(Path(file))
    # What a branch of the hub holds may have changed, and only the digest tells.
    is_certain = file_digest(*found) == wanted if wanted else not place.startswith("hf://")
    return found if is_certain else None


def _place_of(place: str, wanted: str | None) -> Path:
    """Return where a file from the web is kept; its folder is made."""
    import huggingface_hub

    name = unquote(urlsplit(place).path).rpartition("/")[2]
    if not is_file_name(name):
        raise UserError(f"weights: {shortened(place, 400)} names no file; expected {_FORMS}.")
    folder = wanted or f"trusted-{hashlib.sha256(place.encode()).hexdigest()}"
    return Path(huggingface_hub.cached_assets_path("zoo-bench", "weights", folder)) / name


def _fetched(place: str, wanted: str | None) -> Path:
    import huggingface_hub
    from huggingface_hub.file_download import http_get

    if hub := _HUB.fullmatch(place):
        return Path(str(huggingface_hub.hf_hub_download(hub[1], hub[2], revision=hub[3])))
    file = _place_of(place, wanted)
    with whole_file(file) as partial, partial.open("wb") as stream:
        http_get(place, stream, displayed_filename=file.name)
    return file


@contextmanager
def _explained(place: str) -> Iterator[None]:
    """Turn the errors of a download into a UserError with the next step."""
    from huggingface_hub import errors, logging

    name, verbosity = f"weights: {shortened(place, 400)}", logging.get_verbosity()
    # It would print a line for each of its attempts.
    logging.set_verbosity_error()
    try:
        yield
    except UserError:
        raise
    except errors.GatedRepoError:
        raise UserError(f"{name}: its owner gives access on request; ask on its page, then `hf auth login`.") from None
    except errors.RepositoryNotFoundError:
        raise UserError(f"{name}: no such repository; if it is private, `hf auth login` first.") from None
    except errors.RevisionNotFoundError:
        raise UserError(f"{name}: the repository has no such revision.") from None
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise UserError(_no_network(name, error.__cause__ or error)) from None
    except errors.EntryNotFoundError:
        raise UserError(f"{name}: the repository has no such file in this revision.") from None
    except errors.HFValidationError as error:
        raise UserError(f"{name}: {in_one_line(error)}; expected {_FORMS}.") from None
    except errors.HfHubHTTPError as error:
        raise UserError(f"{name}: the server refuses it ({in_one_line(error)}).") from None
    except Exception as error:
        # The library and what it is made of have exceptions of many classes for a connection that fails.
        if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
            raise UserError(f"{name}: cannot be kept at {error.filename} ({error.strerror}); set HF_HOME.") from None
        raise UserError(_no_network(name, error)) from None
    finally:
        logging.set_verbosity(verbosity)


def _no_network(name: str, error: BaseException) -> str:
    return (
        f"{name}: cannot be reached ({in_one_line(error)}), and is not kept from an earlier time. Connect to the"
        " network, or download it elsewhere and pass the file."
    )
