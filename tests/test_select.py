import superpose


def test_info_names_versions_devices_and_implementations():
    info = superpose.info()
    assert info.versions["superpose"] == superpose.__version__
    assert "cpu" in info.devices
    table = str(info).splitlines()
    assert table[0].split() == ["superpose", superpose.__version__]
    assert table[-1].endswith("reference (plain PyTorch)")
    assert len({line.index(line.split()[1]) for line in table if line}) == 1
