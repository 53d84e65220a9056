"""Where a power comes from is said, and what its counter covers."""

import pytest
from collabplan.records import COVERS, EdgePower, MeasuredPower
from pydantic import ValidationError


def test_a_declared_power_says_so() -> None:
    assert EdgePower(watts=2.0, joules_per_megabyte=5.0).said == "declared"


def test_a_measured_power_names_counter_and_declared_radio() -> None:
    assert EdgePower(watts=2.0, source="powercap").said == f"measured ({COVERS['powercap']})"
    with_radio = EdgePower(watts=2.0, source="nvml", joules_per_megabyte=5.0)
    assert with_radio.said == "measured (nvml: GPU, idle included), its radio declared"


@pytest.mark.parametrize("field", ["watts", "idle_watts", "seconds", "idle_seconds"])
def test_a_measured_zero_is_no_figure(field: str) -> None:
    figures = {"watts": 5.0, "idle_watts": 1.0, "seconds": 1.0, "idle_seconds": 1.0, field: 0.0}
    with pytest.raises(ValidationError, match="greater than 0"):
        MeasuredPower.model_validate({"source": "nvml", **figures})
