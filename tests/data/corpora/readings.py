"""What the readers' tests ask of them."""

from dataclasses import replace

from nonverbal.data.corpora import choose_reader, read
from nonverbal.data.corpora.base import Found


def found_in(folder, name, reader=None, pattern=None):
    """Read a folder, and return what is said of each file by its path; each file is named once.

    Attributes are left out: ``attributes_in`` has them.
    """
    reading = list(read(name, folder, choose_reader(name, folder, reader), pattern))
    reading = [replace(file, attributes={}) if isinstance(file, Found) else file for file in reading]
    assert len({file.path for file in reading}) == len(reading)
    return {file.path: file for file in reading}


def clips_in(folder, name):
    """Return the clips of a corpus by path."""
    return {path: file for path, file in found_in(folder, name).items() if isinstance(file, Found)}


def attributes_in(folder, name, reader=None, pattern=None):
    """Return the attributes of a corpus's clips by path."""
    reading = read(name, folder, choose_reader(name, folder, reader), pattern)
    return {file.path: file.attributes for file in reading if isinstance(file, Found)}
