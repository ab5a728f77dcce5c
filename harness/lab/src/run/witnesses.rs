//! Calls the two witnesses of a boot: what the log is to say, and the kprobe events of the trace.

use evidence::ftrace::ATTACH_FUNCTIONS;

use crate::guest::Lost;
use crate::guest::topology::Topology;
use crate::run::session::Session;

/// Where tracefs is.
pub(super) const TRACING: &str = "/sys/kernel/tracing";

/// What makes `kernel/async.c` say when its calls begin and end.
const ASYNC_LINES: &str = "file kernel/async.c +p";
/// What makes the driver core say when a probe ended where that is a pr_debug, from eb7fbc9fb118 (v5.8) to e2f06aa88508
/// (v6.4); elsewhere it matches nothing.
const PROBE_LINES: &str = "func really_probe_debug +p";

/// The kprobe events, each as a type, a place and fields.
///
/// Struct device begins with its kobject, that with the name; struct device_driver with its name; the arguments
/// are in rdi and rsi (System V ABI). A return probe drops what exceeds its maxactive.
fn events(topology: &Topology) -> [[String; 3]; 2] {
    let returns = (topology.luns + topology.oddities.spare + 64).clamp(1024, 4096);
    [
        [
            "p:parprobe/start".to_owned(),
            "really_probe".to_owned(),
            "name=+0(+0(%di)):string drv=+0(+0(%si)):string".to_owned(),
        ],
        [format!("r{returns}:parprobe/end"), "really_probe".to_owned(), "ret=$retval:s32".to_owned()],
    ]
}

fn buffer_kib(topology: &Topology) -> u32 {
    (topology.luns * 2).max(1024)
}

/// How long a task may sleep before it is called hung: 4096 serial probes sleep for minutes and do not hang.
pub(super) fn hung_after_secs(topology: &Topology) -> u64 {
    topology.serial_time().as_secs() * 2 + 10
}

/// Kernel parameters that call the witnesses from the start of the kernel on
/// (Documentation/trace/kprobetrace.rst, Documentation/admin-guide/dynamic-debug-howto.rst).
pub(super) fn from_boot(topology: &Topology) -> String {
    let mut events: Vec<String> =
        events(topology).into_iter().map(|parts| parts.join(",").replace(' ', ",")).collect();
    events.extend(ATTACH_FUNCTIONS.map(|function| format!("p:parprobe/call,{function}")));
    format!(
        "dyndbg=\"{ASYNC_LINES}; {PROBE_LINES}\" trace_buf_size={}K kprobe_event={} sysctl.kernel.hung_task_timeout_secs={}",
        buffer_kib(topology),
        events.join(";"),
        hung_after_secs(topology),
    )
}

/// Sees to it that a hang is told, in whatever step it comes.
pub(super) fn watch_for_hangs(session: &mut Session<'_>) -> Result<bool, Box<Lost>> {
    let hung_after = hung_after_secs(session.boot().topology).to_string();
    session.try_set("/proc/sys/kernel/hung_task_timeout_secs", &hung_after, "hung tasks are not told")
}

/// Calls both. Nothing of it prints on the console. Whether there is a trace.
pub(super) fn call(session: &mut Session<'_>) -> Result<bool, Box<Lost>> {
    let topology = session.boot().topology;
    let control = "/proc/dynamic_debug/control";
    session.try_set(control, ASYNC_LINES, "the log shows no async calls")?;
    session.try_set(control, PROBE_LINES, "the log may show no probes")?;
    let blind = "there is no trace, so CPUs and nodes of probes are not known";
    let size = buffer_kib(topology).to_string();
    if !session.try_set(&format!("{TRACING}/buffer_size_kb"), &size, blind)? {
        return Ok(false);
    }
    let file = format!("{TRACING}/kprobe_events");
    for event in events(topology) {
        if !session.try_set(&file, &event.join(" "), blind)? {
            return Ok(false);
        }
    }
    // Not every kernel has each of them.
    let mut refusals = Vec::new();
    for function in ATTACH_FUNCTIONS {
        refusals.extend(session.set(&file, &format!("p:parprobe/call {function}"))?.err());
    }
    if refusals.len() == ATTACH_FUNCTIONS.len() {
        let why = refusals.join("; ");
        session.blind_to(format!("which function attaches asynchronously is not in the trace: {why}"));
    }
    session.try_set(&format!("{TRACING}/events/parprobe/enable"), "1", blind)
}
