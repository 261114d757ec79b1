use super::*;

/// A runtime with two processors: a start takes `work` milliseconds of them and waits as long for other things.
struct Runtime {
    running: Vec<(Key, SlotClass, f64, f64)>,
    /// In milliseconds.
    now: f64,
    cores: f64,
    /// The next of a row of numbers that look random.
    seed: u64,
}

impl Runtime {
    fn new(cores: f64) -> Self {
        Self { running: Vec::new(), now: 0.0, cores, seed: 7 }
    }

    /// From 0.7 to 1.3.
    fn random(&mut self) -> f64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        0.7 + 0.6 * ((self.seed >> 40) as f64 / (1u64 << 24) as f64)
    }

    fn begin(&mut self, key: Key, class: SlotClass) {
        let whole = if class == SlotClass::Sandbox { 85.0 } else { 25.0 };
        let (work, wait) = (whole * self.random(), whole * self.random());
        self.running.push((key, class, work * 2.0, wait));
    }

    fn hang(&mut self, key: Key, class: SlotClass) {
        self.running.push((key, class, 1.0, f64::INFINITY));
    }

    /// Runs until the next start is over, or there is an answer to `until`.
    fn finish(&mut self, until: Option<Duration>) -> Option<(Key, SlotClass)> {
        loop {
            let step = 0.5;
            self.now += step;
            if self.running.is_empty() || until.is_some_and(|until| self.now >= until.as_secs_f64() * 1000.0)
            {
                return None;
            }
            let waiting = self.running.iter().filter(|r| r.3 > 0.0).count();
            // A start keeps up to two processors busy, as a runtime and its shim do.
            let busy = (self.running.len() - waiting) as f64;
            let share = if busy == 0.0 { 0.0 } else { (self.cores / busy).min(2.0) };
            for running in &mut self.running {
                if running.3 > 0.0 {
                    running.3 -= step;
                } else {
                    running.2 -= step * share;
                }
            }
            if let Some(done) = self.running.iter().position(|r| r.2 <= 0.0) {
                let (key, class, ..) = self.running.remove(done);
                return Some((key, class));
            }
        }
    }
}

/// Starts so many pods; the milliseconds until the first and the last of them are up, and the limits on the way.
fn burst(limiter: &mut Limiter, runtime: &mut Runtime, pods: usize) -> (f64, f64, Vec<usize>) {
    burst_with(limiter, runtime, pods, |_| false)
}

/// The same; the sandboxes of some of the pods hang for ever.
fn burst_with(
    limiter: &mut Limiter,
    runtime: &mut Runtime,
    pods: usize,
    hangs: impl Fn(usize) -> bool,
) -> (f64, f64, Vec<usize>) {
    let begun = runtime.now;
    let mut sandboxes: VecDeque<Key> = (0..pods).map(|i| (format!("{i}"), OpId(1))).collect();
    let mut containers: VecDeque<Key> = VecDeque::new();
    let (mut first, mut limits) = (None, Vec::new());
    let hanging: Vec<String> = (0..pods).filter(|i| hangs(*i)).map(|i| i.to_string()).collect();
    let mut left = pods - hanging.len();
    loop {
        let at = |runtime: &Runtime| Duration::from_secs_f64(runtime.now / 1000.0);
        limiter.reclaim(at(runtime));
        while limiter.has_room() {
            let container = containers.pop_front().map(|key| (key, SlotClass::Container));
            let next = container.or_else(|| sandboxes.pop_front().map(|key| (key, SlotClass::Sandbox)));
            let Some((key, class)) = next else { break };
            limiter.lend(key.clone(), class, at(runtime));
            if hanging.contains(&key.0) {
                runtime.hang(key, class);
            } else {
                runtime.begin(key, class);
            }
        }
        if left == 0 {
            return (first.unwrap_or(0.0), runtime.now - begun, limits);
        }
        let Some((key, class)) = runtime.finish(limiter.next_overdue()) else { continue };
        limiter.returned(&key, at(runtime));
        limits.push(limiter.limit());
        if class == SlotClass::Sandbox {
            containers.push_back((key.0, OpId(2)));
        } else {
            first.get_or_insert(runtime.now - begun);
            left -= 1;
        }
    }
}

/// The same with a fixed number in flight.
fn fixed(in_flight: usize, pods: usize, cores: f64) -> (f64, f64) {
    let mut limiter = Limiter::default();
    let mut runtime = Runtime::new(cores);
    // As if everything were known: the number does not move, and nothing is stuck.
    let far = Duration::from_secs(1_000_000);
    limiter.level = Level { limit: in_flight, since: far, ..Level::default() };
    let slow: VecDeque<Duration> = vec![Duration::from_secs(100); SAMPLES].into();
    limiter.durations = Durations { sandbox: slow.clone(), container: slow };
    let (first, all, _) = burst(&mut limiter, &mut runtime, pods);
    (first, all)
}

#[test]
fn a_burst_is_over_nearly_as_soon_as_with_the_best_number_in_flight() {
    // With many processors a burst of fifty is over before the best number is found.
    for (cores, part) in [(1.0, 1.05), (2.0, 1.05), (4.0, 1.05), (8.0, 1.2)] {
        let all = |n: usize| fixed(n, 50, cores).1;
        let best = [1, 2, 3, 4, 6, 9, 13, 16].into_iter().map(all).fold(f64::MAX, f64::min);
        let mut limiter = Limiter::default();
        let mut runtime = Runtime::new(cores);
        let (first, all_up, limits) = burst(&mut limiter, &mut runtime, 50);
        assert!(all_up <= best * part, "{cores} processors: {all_up} instead of {best} ms; {limits:?}");
        let alone = fixed(2, 50, cores).0;
        assert!(first <= alone * 1.05, "{cores} processors: {first} instead of {alone} ms");
        let (first, all_up, limits) = burst(&mut limiter, &mut runtime, 50);
        assert!(all_up <= best * 1.05, "{cores} processors: {all_up} instead of {best} ms; {limits:?}");
        assert!(first <= alone * 1.3, "{cores} processors: {first} instead of {alone} ms");
    }
}

#[test]
fn the_numbers_that_are_tried_go_up_and_down_the_same_steps() {
    let mut limit = 2;
    for expected in [4, 6, 9, 13, 16] {
        assert_eq!((above(limit), below(expected)), (expected, limit));
        limit = expected;
    }
    assert_eq!((above(16), below(2)), (16, 2));
}

#[test]
fn pods_that_hang_hardly_delay_the_others() {
    for cores in [1.0, 2.0, 4.0] {
        let mut others = Vec::new();
        for hangs in [false, true] {
            let (mut limiter, mut runtime) = (Limiter::default(), Runtime::new(cores));
            // What hangs comes beside the others, in both the same number of these.
            let (pods, hangs): (usize, fn(usize) -> bool) =
                if hangs { (200, |i| i % 10 == 5) } else { (180, |_| false) };
            others.push(burst_with(&mut limiter, &mut runtime, pods, hangs).1);
        }
        println!("{cores} processors: {others:?} ms");
        assert!(others[1] <= others[0] * 1.05, "{cores} processors: {others:?} ms");
    }
}

#[test]
fn a_burst_after_single_starts_is_not_taken_for_a_runtime_that_hangs() {
    for cores in [1.0, 2.0, 4.0] {
        let all = |n: usize| fixed(n, 50, cores).1;
        let best = [1, 2, 3, 4, 6, 9, 13, 16].into_iter().map(all).fold(f64::MAX, f64::min);
        let alone = fixed(2, 50, cores).0;
        let (mut limiter, mut runtime) = (Limiter::default(), Runtime::new(cores));
        for _ in 0..20 {
            burst(&mut limiter, &mut runtime, 1);
            runtime.now += 1000.0;
        }
        let (first, all_up, limits) = burst(&mut limiter, &mut runtime, 50);
        println!("{cores} processors: {first}, {all_up} instead of {alone}, {best} ms; {limits:?}");
        assert!(limiter.stuck.is_empty() && limiter.held.in_vain == 0.0, "{cores} processors");
        assert!(first <= alone * 1.05, "{cores} processors: {first} instead of {alone} ms; {limits:?}");
        assert!(all_up <= best * 1.1, "{cores} processors: {all_up} instead of {best} ms; {limits:?}");
    }
}
