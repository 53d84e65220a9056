"""Runs a plan for real and holds its predictions to what was measured."""

from __future__ import annotations

from pathlib import Path

from ..records import CollabplanError, Measured, Plan, processor_name, save, write_bytes
from ..runtime import keep_memory
from ..runtime.over_the_wire import Subject
from ..runtime.shaping import Shape
from ..runtime.verify import Server, verify
from .cloud import client_tls
from .options import CloudOptions, VerifyOptions
from .planned import LoadedPlan
from .promises import reading_of
from .reporter import Reporter


def check_verify_options(cloud: str | None, options: VerifyOptions) -> Shape | None:
    """The shape of the loopback link; None for the plan's.

    Raises:
        CollabplanError: a shape beside a server, or one that cannot be read.
    """
    if cloud is not None and options.link_shape is not None:
        raise CollabplanError("--link-shape is for a server on this machine; leave it or --cloud out")
    return None if options.link_shape is None else Shape.parse(options.link_shape)


def verify_plan(
    planned: LoadedPlan, options: VerifyOptions, reporter: Reporter, cloud: str | None = None,
    tls: CloudOptions | None = None,
) -> Measured:  # fmt: skip
    """Run the two halves of a plan and measure latency, part by part, and accuracy.

    Args:
        planned: the plan with its model, whose target has validation data.
        options: how it is run.
        reporter: hears what is done.
        cloud: host and port of a server that runs the plan's bundle; None: one on this machine, behind a shaped link.
        tls: how that server is spoken to.

    Returns:
        What was measured; `violations` name what lies outside the plan's intervals.

    Raises:
        CollabplanError: options that exclude one another, no server, or data that do not fit.
    """
    shape = check_verify_options(cloud, options)
    tls = tls or CloudOptions()
    keep_memory()
    with reporter.progress("reading the data"):
        data = planned.target.load_data(planned.traced)
    _report_other_machines(planned.plan, cloud is not None, reporter)
    subject = Subject(
        planned.plan,
        planned.traced,
        planned.cut,
        data.confirm if options.data == "confirm" else data.validation,
        planned.tuned,
        planned.projection,
        planned.target.evaluate,
        data.pixel_scaling(planned.traced),
        reading=reading_of(planned.target, planned.traced, data),
    )
    server = None if cloud is None else Server(cloud, client_tls(tls), tls.insecure)
    with reporter.progress(f"running {planned.plan.cut_name}"):
        return verify(subject, requests=options.requests, shape=shape, server=server, key_file=options.key_file)


def write_measured(planned: LoadedPlan, measured: Measured, file: Path) -> Plan:
    """Write the plan with what was measured; its tensors go along to another folder."""
    plan, source = planned.plan.model_copy(update={"measured": measured}), planned.path
    for named in (plan.tuned_weights, plan.projection):
        if named is not None and file.resolve().parent != source.resolve().parent:
            write_bytes(file.with_name(named.file), source.with_name(named.file).read_bytes())
    save(plan, file)
    return plan


def _report_other_machines(plan: Plan, remote: bool, reporter: Reporter) -> None:
    """Warn where the plan is of other machines than this one."""
    others = {"edge": plan.edge_device} if remote else {"edge": plan.edge_device, "cloud": plan.cloud_device}
    for role, device in others.items():
        if device.name != processor_name() or device.device != "cpu":
            reporter.warning(f"the plan's {role} is {device.name} ({device.device}), this machine is another")
