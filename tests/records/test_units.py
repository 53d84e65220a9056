"""A quantity needs its unit, and nothing else passes for one."""

import pytest
from collabplan.records import CollabplanError, parse_bandwidth, parse_duration_ms, parse_number, parse_size


@pytest.mark.parametrize(
    ("text", "bits_per_s"),
    [
        ("20mbps", 20e6),
        ("20 Mbps", 20e6),
        ("1.5gbps", 1.5e9),
        (".5kbps", 500.0),
        (" 8 bps ", 8.0),
        ("8 Mbit/s", 8e6),
        ("8mbit/s", 8e6),
        ("100 Mb/s", 100e6),
        ("2 MB/s", 16e6),
        ("2MBps", 16e6),
        ("3 kB/s", 24e3),
    ],
)
def test_bandwidth_is_in_bits_per_second(text: str, bits_per_s: float) -> None:
    assert parse_bandwidth(text) == bits_per_s


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("15ms", 15.0),
        ("2s", 2000.0),
        ("250us", 0.25),
        ("0ms", 0.0),
        ("1.5 s", 1500.0),
        ("2h", 7_200_000.0),
        ("3 min", 180_000.0),
        ("5 µs", 0.005),
    ],
)
def test_a_duration_is_in_milliseconds_and_may_be_zero(text: str, ms: float) -> None:
    assert parse_duration_ms(text) == pytest.approx(ms)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("200MB", 200_000_000),
        ("1MiB", 1_048_576),
        ("1.5GB", 1_500_000_000),
        ("7 B", 7),
        ("20kB", 20_000),
        ("200 MB", 200_000_000),
        ("20KB", 20_000),
        ("1TB", 10**12),
    ],
)
def test_decimal_and_binary_sizes_differ(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text", ["20", "20mb", "20MB", "20MBps2", "-20mbps", "mbps", "", "nanmbps", "1e3mbps", "infmbps", "2 0mbps"]
)
def test_anything_but_a_positive_number_with_a_known_unit_is_refused(text: str) -> None:
    with pytest.raises(CollabplanError, match=r"bandwidth.*20mbps") as caught:
        parse_bandwidth(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["0mbps", "0.0gbps"])
def test_a_link_without_bandwidth_is_refused(text: str) -> None:
    with pytest.raises(CollabplanError, match="greater than zero"):
        parse_bandwidth(text)


@pytest.mark.parametrize("text", ["200mb", "200Mb", "200kb", "200"])
def test_the_case_of_a_size_counts(text: str) -> None:
    with pytest.raises(CollabplanError, match="200MB"):
        parse_size(text)


@pytest.mark.parametrize("text", ["9" * 400 + "mbps", "9999999999999gbps"])
def test_what_would_overflow_later_is_refused(text: str) -> None:
    with pytest.raises(CollabplanError, match="too large; write for example 20mbps") as caught:
        parse_bandwidth(text)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [("50", "ms", 50.0), ("1.5 s", "ms", 1500.0), ("15ms", "s", 0.015), ("2h", "s", 7200.0), ("500 MB", "GB", 0.5)],
)
def test_an_option_with_a_unit_of_its_own_takes_numbers_and_quantities(text: str, unit: str, value: float) -> None:
    assert parse_number(text, unit) == pytest.approx(value)


@pytest.mark.parametrize(("text", "unit"), [("fast", "ms"), ("5 MB", "s"), ("5 ms", "GB"), ("", "ms")])
def test_a_quantity_of_another_kind_is_refused(text: str, unit: str) -> None:
    with pytest.raises(CollabplanError, match="write for example"):
        parse_number(text, unit)
