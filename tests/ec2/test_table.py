"""The table of instance types is what its generator makes of the data it names."""

import make_instance_types


def test_it_is_what_its_generator_makes():
    assert make_instance_types.TABLE.read_text() == make_instance_types.table()


def test_it_has_enough():
    lines = [line for line in make_instance_types.table().splitlines() if not line.startswith("#")]
    assert len(lines) >= 1300
    assert all(len(line.split(" ")) == 11 for line in lines)
