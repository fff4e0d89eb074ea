//! Version 2: one tree for all controllers; times in microseconds, and containerd expects them so.

use std::path::Path;

use containerd_shim::protos::cgroups_v2::metrics::{CPUStat, MemoryEvents, MemoryStat, Metrics, PidsStat};
use containerd_shim::protos::protobuf::MessageField;

use super::{number, pids_limit, text};
use crate::cgroup::value_of;

/// The files that are read, as they are.
#[derive(Debug, Default)]
pub(super) struct Files {
    cpu_stat: String,
    memory_current: String,
    memory_max: String,
    memory_peak: String,
    memory_stat: String,
    memory_events: String,
    swap_current: String,
    swap_max: String,
    pids_current: String,
    pids_max: String,
}

impl Files {
    pub(super) fn read(folder: &Path) -> Self {
        let text = |name: &str| text(Some(folder), name);
        Self {
            cpu_stat: text("cpu.stat"),
            memory_current: text("memory.current"),
            memory_max: text("memory.max"),
            memory_peak: text("memory.peak"),
            memory_stat: text("memory.stat"),
            memory_events: text("memory.events"),
            swap_current: text("memory.swap.current"),
            swap_max: text("memory.swap.max"),
            pids_current: text("pids.current"),
            pids_max: text("pids.max"),
        }
    }
}

pub(super) fn metrics(files: &Files) -> Metrics {
    Metrics {
        pids: MessageField::some(PidsStat {
            current: number(&files.pids_current),
            limit: pids_limit(&files.pids_max),
            ..PidsStat::default()
        }),
        cpu: MessageField::some(cpu(files)),
        memory: MessageField::some(memory(files)),
        memory_events: MessageField::some(events(files)),
        ..Metrics::default()
    }
}

fn cpu(files: &Files) -> CPUStat {
    let stat = |key: &str| value_of(&files.cpu_stat, key).unwrap_or(0);
    CPUStat {
        usage_usec: stat("usage_usec"),
        user_usec: stat("user_usec"),
        system_usec: stat("system_usec"),
        nr_periods: stat("nr_periods"),
        nr_throttled: stat("nr_throttled"),
        throttled_usec: stat("throttled_usec"),
        ..CPUStat::default()
    }
}

fn memory(files: &Files) -> MemoryStat {
    let stat = |key: &str| value_of(&files.memory_stat, key).unwrap_or(0);
    MemoryStat {
        anon: stat("anon"),
        file: stat("file"),
        kernel_stack: stat("kernel_stack"),
        slab: stat("slab"),
        sock: stat("sock"),
        shmem: stat("shmem"),
        file_mapped: stat("file_mapped"),
        file_dirty: stat("file_dirty"),
        file_writeback: stat("file_writeback"),
        inactive_anon: stat("inactive_anon"),
        active_anon: stat("active_anon"),
        // What a working set leaves out.
        inactive_file: stat("inactive_file"),
        active_file: stat("active_file"),
        unevictable: stat("unevictable"),
        pgfault: stat("pgfault"),
        pgmajfault: stat("pgmajfault"),
        usage: number(&files.memory_current),
        usage_limit: number(&files.memory_max),
        max_usage: number(&files.memory_peak),
        swap_usage: number(&files.swap_current),
        swap_limit: number(&files.swap_max),
        ..MemoryStat::default()
    }
}

fn events(files: &Files) -> MemoryEvents {
    let count = |key: &str| value_of(&files.memory_events, key).unwrap_or(0);
    MemoryEvents {
        low: count("low"),
        high: count("high"),
        max: count("max"),
        oom: count("oom"),
        oom_kill: count("oom_kill"),
        ..MemoryEvents::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_in_microseconds_and_memory_has_what_a_working_set_needs() {
        let files = Files {
            cpu_stat: "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnr_throttled 2\n".into(),
            memory_current: "1000000\n".into(),
            memory_max: "max\n".into(),
            memory_stat: "anon 4096\nfile 10\ninactive_file 300\npgfault 5\n".into(),
            memory_events: "oom 4\noom_kill 1\n".into(),
            pids_current: "4\n".into(),
            pids_max: "100\n".into(),
            ..Files::default()
        };
        let metrics = metrics(&files);
        assert_eq!(metrics.cpu.usage_usec, 1500);
        assert_eq!(metrics.memory.usage, 1_000_000);
        assert_eq!(metrics.memory.usage_limit, u64::MAX);
        assert_eq!(metrics.memory.inactive_file, 300);
        assert_eq!(metrics.memory.anon, 4096);
        assert_eq!(metrics.memory_events.oom_kill, 1);
        assert_eq!((metrics.pids.current, metrics.pids.limit), (4, 100));
    }
}
