import pytest

from plaudit.core.checksums import sha256_of


def test_a_files_checksum_is_its_contents_sha256(tmp_path):
    """The published digests of "abc" and of nothing, FIPS 180-4."""
    (tmp_path / "abc").write_bytes(b"abc")
    (tmp_path / "empty").touch()
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_file_that_is_not_there_has_none(tmp_path):
    with pytest.raises(FileNotFoundError):
        sha256_of(tmp_path / "absent")
