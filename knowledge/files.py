"""Files that the user names: read and written, and one line for what fails."""

from pathlib import Path

from knowledge.errors import UserError


def text_of(path: Path, what: str) -> str:
    """The text of a file that the user named.

    Raises:
        UserError: there is none, it cannot be read, or it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"no file {str(path)!r}; check the path") from None
    except IsADirectoryError:
        raise UserError(f"{str(path)!r} is a folder; give a {what}") from None
    except OSError as error:
        raise UserError(f"cannot read {str(path)!r}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"{str(path)!r} is not UTF-8 (byte {error.start}); save it as UTF-8"
        ) from None


def write_text(path: Path, text: str) -> None:
    """Write a file that the user asked for, as UTF-8.

    Raises:
        UserError: its folder is not there, or it cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"no folder {str(path.parent)!r} to write {path.name!r} into") from None
    except IsADirectoryError:
        raise UserError(f"{str(path)!r} is a folder; give a file to write") from None
    except OSError as error:
        raise UserError(f"cannot write {str(path)!r}: {error.strerror}") from None


def made_folder(path: Path) -> Path:
    """The folder, made with its parents where it was not there.

    Raises:
        UserError: something in the way is a file, or it may not be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {str(path)!r}: {error.strerror}") from None
    return path
