//! Which CPUs this process may use and what they share, to the ones a guest gets.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use evidence::cpus::Cpus;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

/// What a CPU shares with others.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Place {
    /// The socket.
    pub(super) package: u32,
    /// The NUMA node.
    pub(super) node: u32,
    /// The core: the first of its CPUs, by number.
    pub(super) core: u32,
}

/// The CPUs that this process may use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Layout {
    places: BTreeMap<u32, Place>,
    /// Whether the host has more than one node with CPUs: only then does it matter where memory is.
    nodes: bool,
}

impl Layout {
    /// That of this host. It is empty where the kernel does not say what this process may use, as with more than
    /// 1024 CPUs.
    pub(super) fn of_host() -> Self {
        let allowed =
            sched_getaffinity(Pid::from_raw(0)).map_or_else(|_| Cpus::default(), |set| cpus_in(&set));
        Self::read(&allowed, Path::new("/sys/devices/system"))
    }

    /// One of these CPUs; `nodes` says whether the host has several nodes.
    #[cfg(test)]
    pub(super) fn with(places: BTreeMap<u32, Place>, nodes: bool) -> Self {
        Self { places, nodes }
    }

    /// From the files of sysfs. What they do not say is taken to be one package, one node, and a core each.
    fn read(allowed: &Cpus, system: &Path) -> Self {
        let list = |path: &Path| fs::read_to_string(path).ok()?.parse::<Cpus>().ok();
        let mut nodes: Vec<(u32, Cpus)> = Vec::new();
        for entry in fs::read_dir(system.join("node")).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("node")?.parse().ok());
            nodes.extend(number.zip(list(&entry.path().join("cpulist"))));
        }
        let place = |cpu: u32| {
            let folder = system.join(format!("cpu/cpu{cpu}/topology"));
            let package = fs::read_to_string(folder.join("physical_package_id")).ok();
            // The first is the older name of the second (Documentation/admin-guide/cputopology.rst).
            let core =
                ["thread_siblings_list", "core_cpus_list"].iter().find_map(|name| list(&folder.join(name)));
            Place {
                package: package.and_then(|text| text.trim().parse().ok()).unwrap_or_default(),
                node: nodes.iter().find(|(_, cpus)| cpus.0.contains(&cpu)).map_or(0, |(node, _)| *node),
                core: core.and_then(|cpus| cpus.0.first().copied()).unwrap_or(cpu),
            }
        };
        Self {
            places: allowed.0.iter().map(|cpu| (*cpu, place(*cpu))).collect(),
            nodes: nodes.iter().filter(|(_, cpus)| !cpus.0.is_empty()).count() > 1,
        }
    }

    /// All of them.
    pub(super) fn cpus(&self) -> Cpus {
        self.places.keys().copied().collect()
    }

    /// So many of the free ones; `None` where there are fewer.
    ///
    /// They come from the node that has just enough, so that large gaps stay for large guests; where none has, from
    /// the emptiest first. Within a node, cores are chosen in the same way: siblings stay together, and a core is
    /// split only for the odd CPU.
    pub(super) fn choose(&self, free: &Cpus, wanted: usize) -> Option<Cpus> {
        let mut nodes: BTreeMap<(u32, u32), BTreeMap<u32, Vec<u32>>> = BTreeMap::new();
        for (cpu, Place { package, node, core }) in &self.places {
            if free.0.contains(cpu) {
                nodes.entry((*package, *node)).or_default().entry(*core).or_default().push(*cpu);
            }
        }
        let mut chosen = Cpus::default();
        while chosen.0.len() < wanted {
            let size = |cores: &BTreeMap<u32, Vec<u32>>| cores.values().map(Vec::len).sum();
            let mut cores = take_fitting(&mut nodes, size, wanted - chosen.0.len())?;
            while chosen.0.len() < wanted
                && let Some(core) = take_fitting(&mut cores, Vec::len, wanted - chosen.0.len())
            {
                let left = wanted - chosen.0.len();
                chosen.0.extend(core.into_iter().take(left));
            }
        }
        Some(chosen)
    }

    /// The node whose memory is near to all of these, on a host where that matters.
    pub(super) fn node_of(&self, cpus: &Cpus) -> Option<u32> {
        let mut nodes = cpus.0.iter().filter_map(|cpu| self.places.get(cpu)).map(|place| place.node);
        let first = nodes.next().filter(|_| self.nodes)?;
        nodes.all(|node| node == first).then_some(first)
    }
}

/// The smallest that is large enough, else the largest; of several the first.
fn take_fitting<K: Copy + Ord, V>(
    all: &mut BTreeMap<K, V>,
    size: impl Fn(&V) -> usize,
    wanted: usize,
) -> Option<V> {
    let rank = |value: &V| {
        let size = size(value);
        (size < wanted, if size < wanted { usize::MAX - size } else { size })
    };
    let key = *all.iter().min_by_key(|(_, value)| rank(value))?.0;
    all.remove(&key)
}

fn cpus_in(set: &CpuSet) -> Cpus {
    let number = |cpu: usize| set.is_set(cpu).is_ok_and(|set| set).then(|| u32::try_from(cpu).ok())?;
    (0..CpuSet::count()).filter_map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes of so many cores, two CPUs a core; siblings are numbered as on most hosts: all first ones, then all
    /// second ones.
    fn host(nodes: u32, cores: u32) -> Layout {
        let all = nodes * cores;
        let place = |cpu: u32| Place { package: 0, node: cpu % all / cores, core: cpu % all };
        Layout { places: (0..2 * all).map(|cpu| (cpu, place(cpu))).collect(), nodes: nodes > 1 }
    }

    fn chosen(layout: &Layout, free: &str, wanted: usize) -> Option<String> {
        layout.choose(&free.parse().unwrap(), wanted).map(|cpus| cpus.to_string())
    }

    #[test]
    fn siblings_stay_together_and_only_the_odd_cpu_splits_a_core() {
        let layout = host(1, 4);
        assert_eq!(chosen(&layout, "0-7", 2).unwrap(), "0,4");
        assert_eq!(chosen(&layout, "0-7", 4).unwrap(), "0-1,4-5");
        assert_eq!(chosen(&layout, "0-7", 3).unwrap(), "0-1,4");
        // Core 0 is split already: it goes to whoever wants one, and not to who wants two.
        assert_eq!(chosen(&layout, "1-7", 2).unwrap(), "1,5");
        assert_eq!(chosen(&layout, "1-7", 1).unwrap(), "4");
        // Each has only one left.
        assert_eq!(chosen(&layout, "1-4", 2).unwrap(), "1,4");
    }

    #[test]
    fn a_guest_is_on_one_node_where_one_has_room() {
        // Node 0 has CPUs 0-1 and 4-5, node 1 has 2-3 and 6-7.
        let layout = host(2, 2);
        assert_eq!(chosen(&layout, "0-7", 4).unwrap(), "0-1,4-5");
        // Node 0 has two left: they are enough for two, and too few for three.
        assert_eq!(chosen(&layout, "1-3,5-7", 2).unwrap(), "1,5");
        assert_eq!(chosen(&layout, "1-3,5-7", 3).unwrap(), "2-3,6");
        // Nobody has five: the emptier node first.
        assert_eq!(chosen(&layout, "1-3,5-7", 5).unwrap(), "1-3,6-7");
    }

    #[test]
    fn nobody_gets_more_than_there_are() {
        let layout = host(2, 2);
        assert_eq!(chosen(&layout, "0-7", 8).unwrap(), "0-7");
        assert_eq!(chosen(&layout, "0-7", 9), None);
        assert_eq!(chosen(&layout, "", 1), None);
        // CPU 8 may be free, but this process may not use it.
        assert_eq!(chosen(&layout, "0,8", 2), None);
    }

    #[test]
    fn memory_follows_where_it_can_be_near_or_far() {
        let node = |layout: &Layout, cpus: &str| layout.node_of(&cpus.parse().unwrap());
        assert_eq!(node(&host(2, 2), "2,6"), Some(1));
        assert_eq!(node(&host(2, 2), "1-2"), None);
        assert_eq!(node(&host(1, 2), "0-1"), None);
        assert_eq!(node(&host(2, 2), ""), None);
    }

    #[test]
    fn the_files_of_a_host_are_read_and_a_host_without_them_is_one_node() {
        let system = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = system.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("node/node0/cpulist", "0,2\n");
        put("node/node1/cpulist", "1,3\n");
        put("node/node2/cpulist", "\n");
        for (cpu, siblings) in [(0, "0,2"), (1, "1,3"), (2, "0,2")] {
            put(&format!("cpu/cpu{cpu}/topology/thread_siblings_list"), siblings);
            put(&format!("cpu/cpu{cpu}/topology/physical_package_id"), &format!("{}\n", cpu % 2));
        }
        let allowed = "0-2".parse().unwrap();
        let place = |package, node, core| Place { package, node, core };
        let expected = [(0, place(0, 0, 0)), (1, place(1, 1, 1)), (2, place(0, 0, 0))];
        let layout = Layout { places: expected.into_iter().collect(), nodes: true };
        assert_eq!(Layout::read(&allowed, system.path()), layout);

        let bare = Layout::read(&allowed, &system.path().join("nothing"));
        let expected = (0..3).map(|cpu| (cpu, place(0, 0, cpu)));
        assert_eq!(bare, Layout { places: expected.collect(), nodes: false });
    }

    #[test]
    fn this_process_may_use_a_cpu() {
        let layout = Layout::of_host();
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
        assert_eq!(layout.cpus().to_string(), allowed.trim());
    }
}
