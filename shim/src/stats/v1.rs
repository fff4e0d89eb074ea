//! Version 1: a tree for each controller; times in nanoseconds.

use containerd_shim::protos::cgroups::metrics::{
    CPUStat, CPUUsage, MemoryEntry, MemoryOomControl, MemoryStat, Metrics, PidsStat, Throttle,
};
use containerd_shim::protos::protobuf::MessageField;

use super::{number, pids_limit, text};
use crate::cgroup::{V1Place, value_of};

/// `cpuacct.stat` counts in ticks of 1/100 s on every system that Linux calls its ABI.
const NANOS_PER_TICK: u64 = 10_000_000;

/// The files that are read, as they are.
#[derive(Debug, Default)]
pub(super) struct Files {
    cpu_stat: String,
    cpuacct_usage: String,
    cpuacct_stat: String,
    memory_stat: String,
    memory_usage: String,
    memory_limit: String,
    memory_max_usage: String,
    memory_failcnt: String,
    memory_oom_control: String,
    pids_current: String,
    pids_max: String,
}

impl Files {
    pub(super) fn read(place: &V1Place) -> Self {
        let (cpu, cpuacct) = (place.cpu.as_deref(), place.cpuacct.as_deref());
        let (memory, pids) = (place.memory.as_deref(), place.pids.as_deref());
        Self {
            cpu_stat: text(cpu, "cpu.stat"),
            cpuacct_usage: text(cpuacct, "cpuacct.usage"),
            cpuacct_stat: text(cpuacct, "cpuacct.stat"),
            memory_stat: text(memory, "memory.stat"),
            memory_usage: text(memory, "memory.usage_in_bytes"),
            memory_limit: text(memory, "memory.limit_in_bytes"),
            memory_max_usage: text(memory, "memory.max_usage_in_bytes"),
            memory_failcnt: text(memory, "memory.failcnt"),
            memory_oom_control: text(memory, "memory.oom_control"),
            pids_current: text(pids, "pids.current"),
            pids_max: text(pids, "pids.max"),
        }
    }
}

pub(super) fn metrics(files: &Files) -> Metrics {
    let oom = |key: &str| value_of(&files.memory_oom_control, key).unwrap_or(0);
    Metrics {
        pids: MessageField::some(PidsStat {
            current: number(&files.pids_current),
            limit: pids_limit(&files.pids_max),
            ..PidsStat::default()
        }),
        cpu: MessageField::some(cpu(files)),
        memory: MessageField::some(memory(files)),
        memory_oom_control: MessageField::some(MemoryOomControl {
            oom_kill_disable: oom("oom_kill_disable"),
            under_oom: oom("under_oom"),
            oom_kill: oom("oom_kill"),
            ..MemoryOomControl::default()
        }),
        ..Metrics::default()
    }
}

fn cpu(files: &Files) -> CPUStat {
    let ticks = |key: &str| value_of(&files.cpuacct_stat, key).unwrap_or(0) * NANOS_PER_TICK;
    let throttled = |key: &str| value_of(&files.cpu_stat, key).unwrap_or(0);
    CPUStat {
        usage: MessageField::some(CPUUsage {
            total: number(&files.cpuacct_usage),
            kernel: ticks("system"),
            user: ticks("user"),
            ..CPUUsage::default()
        }),
        throttling: MessageField::some(Throttle {
            periods: throttled("nr_periods"),
            throttled_periods: throttled("nr_throttled"),
            throttled_time: throttled("throttled_time"),
            ..Throttle::default()
        }),
        ..CPUStat::default()
    }
}

fn memory(files: &Files) -> MemoryStat {
    let stat = |key: &str| value_of(&files.memory_stat, key).unwrap_or(0);
    MemoryStat {
        cache: stat("cache"),
        rss: stat("rss"),
        mapped_file: stat("mapped_file"),
        pg_fault: stat("pgfault"),
        pg_maj_fault: stat("pgmajfault"),
        inactive_anon: stat("inactive_anon"),
        active_anon: stat("active_anon"),
        inactive_file: stat("inactive_file"),
        active_file: stat("active_file"),
        unevictable: stat("unevictable"),
        hierarchical_memory_limit: stat("hierarchical_memory_limit"),
        total_cache: stat("total_cache"),
        total_rss: stat("total_rss"),
        total_mapped_file: stat("total_mapped_file"),
        total_pg_fault: stat("total_pgfault"),
        total_pg_maj_fault: stat("total_pgmajfault"),
        total_inactive_anon: stat("total_inactive_anon"),
        total_active_anon: stat("total_active_anon"),
        // What a working set leaves out.
        total_inactive_file: stat("total_inactive_file"),
        total_active_file: stat("total_active_file"),
        total_unevictable: stat("total_unevictable"),
        usage: MessageField::some(MemoryEntry {
            limit: number(&files.memory_limit),
            usage: number(&files.memory_usage),
            max: number(&files.memory_max_usage),
            failcnt: number(&files.memory_failcnt),
            ..MemoryEntry::default()
        }),
        ..MemoryStat::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_in_nanoseconds_and_memory_has_what_a_working_set_needs() {
        let files = Files {
            cpu_stat: "nr_periods 10\nnr_throttled 3\nthrottled_time 7000\n".into(),
            cpuacct_usage: "1234567890\n".into(),
            cpuacct_stat: "user 100\nsystem 20\n".into(),
            memory_stat: "cache 10\nrss 4096\ntotal_inactive_file 300\ntotal_rss 8192\ntotal_pgfault 5\n".into(),
            memory_usage: "1000000\n".into(),
            memory_limit: "9223372036854771712\n".into(),
            memory_oom_control: "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n".into(),
            pids_current: "4\n".into(),
            pids_max: "max\n".into(),
            ..Files::default()
        };
        let metrics = metrics(&files);
        assert_eq!(metrics.cpu.usage.total, 1_234_567_890);
        assert_eq!(metrics.cpu.usage.user, 1_000_000_000);
        assert_eq!(metrics.cpu.throttling.throttled_periods, 3);
        assert_eq!(metrics.memory.usage.usage, 1_000_000);
        assert_eq!(metrics.memory.total_inactive_file, 300);
        assert_eq!(metrics.memory.total_rss, 8192);
        assert_eq!(metrics.memory_oom_control.oom_kill, 1);
        assert_eq!((metrics.pids.current, metrics.pids.limit), (4, 0));
    }
}
