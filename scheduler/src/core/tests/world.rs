//! A cluster in virtual time: an API server that answers late, refuses, is away, and whose watch lags behind.

use std::collections::{BTreeMap, VecDeque};

use super::*;

/// A pseudo-random sequence (splitmix64): a failing seed says everything.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).expect("smaller than the bound")
    }
}

const NODE_MILLIS: i64 = 1000;
const ROOM: usize = 4;

pub(super) struct World {
    random: Random,
    core: Core,
    now: Duration,
    /// The truth: what each pod asks for, and its node.
    pods: BTreeMap<String, (i64, Option<String>)>,
    nodes: BTreeMap<String, i64>,
    /// What the watch has not told yet, in order.
    watch: VecDeque<Input>,
    in_flight: Vec<Effect>,
    names: usize,
    away: bool,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut core = Core::default();
        core.step(Input::Nodes(vec![]), secs(0));
        core.step(Input::Pods(vec![]), secs(0));
        Self {
            random: Random(seed),
            core,
            now: secs(0),
            pods: BTreeMap::new(),
            nodes: BTreeMap::new(),
            watch: VecDeque::new(),
            in_flight: Vec::new(),
            names: 0,
            away: false,
        }
    }

    pub(super) fn run(mut self, steps: usize) {
        for _ in 0..steps {
            self.disturb();
            self.decide();
            self.usage_is_what_the_pods_take_together();
        }
        // Quiet now: the server answers, nothing else changes.
        self.away = false;
        for _ in 0..10_000 {
            self.decide();
            if let Some(input) = self.watch.pop_front() {
                self.core.step(input, self.now);
            } else if !self.in_flight.is_empty() {
                self.answer(0);
            } else {
                match self.core.due() {
                    Some(due) if due <= self.now + secs(10) => self.now = self.now.max(due),
                    _ => break,
                }
            }
        }
        self.usage_is_what_the_pods_take_together();
        self.what_waits_fits_nowhere();
    }

    fn disturb(&mut self) {
        match self.random.below(12) {
            0..=2 => self.add_pod(),
            3 => self.add_node(),
            4 => self.delete_pod(),
            5 => self.away = !self.away,
            6 => self.now += Duration::from_millis(self.random.below(3000) as u64),
            7 => self.relist(),
            8 | 9 if !self.in_flight.is_empty() => {
                let index = self.random.below(self.in_flight.len());
                self.answer(index);
            }
            _ => {
                if let Some(input) = self.watch.pop_front() {
                    self.core.step(input, self.now);
                }
            }
        }
    }

    fn decide(&mut self) {
        let room = ROOM - self.in_flight.len();
        let effects = self.core.decide(room, self.now);
        assert!(effects.len() <= room);
        self.in_flight.extend(effects);
    }

    fn name(&mut self, prefix: &str) -> String {
        self.names += 1;
        format!("{prefix}{}", self.names)
    }

    fn add_pod(&mut self) {
        let (name, millis) = (self.name("p"), 1 + self.random.below(600) as i64);
        self.pods.insert(name.clone(), (millis, None));
        self.tell(&name);
    }

    fn add_node(&mut self) {
        let name = self.name("n");
        self.nodes.insert(name.clone(), NODE_MILLIS);
        self.watch.push_back(Input::Node(node(&name, NODE_MILLIS)));
    }

    fn delete_pod(&mut self) {
        if self.pods.is_empty() {
            return;
        }
        let index = self.random.below(self.pods.len());
        let name = self.pods.keys().nth(index).expect("within the length").clone();
        self.pods.remove(&name);
        self.watch.push_back(Input::PodGone(u(&name)));
    }

    /// The watch was lost: what it had not told is not told any more, a list is.
    fn relist(&mut self) {
        self.watch.clear();
        let pods = self.pods.iter().map(|(name, (millis, at))| pod(name, *millis, at.as_deref())).collect();
        let nodes = self.nodes.iter().map(|(name, millis)| node(name, *millis)).collect();
        self.core.step(Input::Pods(pods), self.now);
        self.core.step(Input::Nodes(nodes), self.now);
    }

    fn tell(&mut self, name: &str) {
        let (millis, at) = &self.pods[name];
        self.watch.push_back(Input::Pod(pod(name, *millis, at.as_deref())));
    }

    /// The API server answers a write; away, it may have carried it out all the same.
    fn answer(&mut self, index: usize) {
        let away = self.away;
        let carried_out = !away || self.random.below(2) == 0;
        let input = match self.in_flight.swap_remove(index) {
            Effect::Bind { pod, node, .. } => {
                let free = self.pods.get(&*pod.name).is_some_and(|(_, at)| at.is_none());
                if carried_out && free {
                    self.pods.get_mut(&*pod.name).expect("it is free").1 = Some(node.to_string());
                    self.tell(&pod.name);
                }
                let end = match (away, free) {
                    (true, _) => BindEnd::Unavailable,
                    (false, true) => BindEnd::Bound,
                    (false, false) => BindEnd::Overtaken,
                };
                Input::BindEnded(pod.uid, end)
            }
            Effect::Report(report) => Input::ReportEnded(report.pod.uid, !away),
        };
        self.core.step(input, self.now);
    }

    fn usage_is_what_the_pods_take_together(&self) {
        let mut expected: HashMap<Arc<str>, Usage> = HashMap::new();
        for entry in self.core.pods.values() {
            if let Some(node) = entry.node() {
                expected.entry(node.clone()).or_default().add(&entry.load);
            }
        }
        assert_eq!(self.core.usage, expected);
    }

    fn what_waits_fits_nowhere(&self) {
        let free = |node: &String| {
            let on = self.pods.values().filter(|(_, at)| at.as_ref() == Some(node));
            NODE_MILLIS - on.map(|(millis, _)| millis).sum::<i64>()
        };
        for (name, (millis, _)) in self.pods.iter().filter(|(_, (_, at))| at.is_none()) {
            assert!(self.nodes.keys().all(|node| free(node) < *millis), "{name} waits though there is room");
        }
    }
}
