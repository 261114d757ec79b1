use proptest::prelude::*;

use super::*;

/// A cgroup of the kernel's kind: directories below it, processes that die some looks after they were killed.
#[derive(Debug)]
struct Kernel {
    directories: Vec<String>,
    there: bool,
    populated: bool,
    looks_until_dead: u32,
    killed: bool,
    busy_for: u32,
    unit_fails: bool,
    unit_stopped: bool,
}

impl Kernel {
    fn with(directories: &[&str]) -> Self {
        Self {
            directories: directories.iter().map(|d| (*d).to_owned()).collect(),
            there: true,
            populated: false,
            looks_until_dead: 0,
            killed: false,
            busy_for: 0,
            unit_fails: false,
            unit_stopped: false,
        }
    }

    fn carry_out(&mut self, step: &Step) -> Outcome {
        match step {
            Step::Look if !self.there => Outcome::Gone,
            Step::Look => {
                if self.killed && self.looks_until_dead == 0 {
                    self.populated = false;
                }
                self.looks_until_dead = self.looks_until_dead.saturating_sub(1);
                let mut below = self.directories.clone();
                below.sort_by_key(|d| std::cmp::Reverse(d.matches('/').count()));
                Outcome::Here { populated: self.populated, below }
            }
            Step::Kill => {
                self.killed = true;
                Outcome::Done
            }
            Step::StopUnit if self.unit_fails => Outcome::Failed("no bus".to_owned()),
            Step::StopUnit => {
                self.unit_stopped = true;
                Outcome::Done
            }
            Step::RemoveDirectory(path) => {
                let has_children = match path.as_str() {
                    "" => !self.directories.is_empty(),
                    path => self.directories.iter().any(|d| d.starts_with(&format!("{path}/"))),
                };
                assert!(!has_children, "{path:?} was to be removed before what is below it");
                assert!(!self.populated, "a cgroup with processes was to be removed");
                if self.busy_for > 0 {
                    self.busy_for -= 1;
                    return Outcome::Busy;
                }
                if path.is_empty() {
                    self.there = false;
                } else {
                    self.directories.retain(|d| d != path);
                }
                Outcome::Done
            }
            Step::Wait(_) => Outcome::Done,
            Step::Done => unreachable!("nothing is left to be done"),
        }
    }

    /// Steps that were taken, at most `most`.
    fn run(&mut self, removal: &mut Removal, most: u32) -> Vec<Step> {
        let mut steps = Vec::new();
        while *removal.step() != Step::Done && (steps.len() as u32) < most {
            let step = removal.step().clone();
            let outcome = self.carry_out(&step);
            steps.push(step);
            removal.next(outcome);
        }
        steps
    }
}

fn directory(path: &str) -> Step {
    Step::RemoveDirectory(path.to_owned())
}

#[test]
fn row_21_12_processes_are_killed_before_directories_go_innermost_first() {
    let mut kernel = Kernel { populated: true, ..Kernel::with(&["c", "c/inner"]) };
    let mut removal = Removal::new(false);
    let steps = kernel.run(&mut removal, 50);
    assert_eq!(
        steps,
        [
            Step::Look,
            Step::Kill,
            Step::Wait(FIRST_WAIT),
            Step::Look,
            directory("c/inner"),
            directory("c"),
            directory(""),
            Step::Look
        ]
    );
    assert_eq!((removal.step(), removal.stuck()), (&Step::Done, None));
}

#[test]
fn what_is_gone_is_done_at_once() {
    let mut kernel = Kernel { there: false, ..Kernel::with(&[]) };
    assert_eq!(kernel.run(&mut Removal::new(true), 9), [Step::Look]);
}

#[test]
fn a_busy_directory_is_named_and_tried_again_with_longer_waits() {
    let mut kernel = Kernel { busy_for: 3, ..Kernel::with(&["c"]) };
    let mut removal = Removal::new(false);
    let mut seen = None;
    let mut waits = Vec::new();
    while *removal.step() != Step::Done {
        let step = removal.step().clone();
        if let Step::Wait(wait) = step {
            waits.push(wait.as_millis());
            seen = removal.stuck().cloned();
        }
        removal.next(kernel.carry_out(&step));
    }
    assert_eq!(seen, Some(Stuck::Busy("c".to_owned())));
    assert_eq!(waits, [1, 2, 4]);
}

#[test]
fn processes_that_do_not_end_are_told_and_killed_again_for_ever() {
    let mut kernel = Kernel { populated: true, looks_until_dead: u32::MAX, ..Kernel::with(&[]) };
    let mut removal = Removal::new(false);
    let steps = kernel.run(&mut removal, 300);
    assert_eq!(steps.len(), 300, "it gave up");
    assert!(matches!(removal.stuck(), Some(Stuck::Processes(n)) if *n > 50));
    let last = steps.iter().rev().find_map(|s| if let Step::Wait(w) = s { Some(*w) } else { None });
    assert_eq!(last, Some(LONGEST_WAIT));
}

#[test]
fn a_slice_is_stopped_first_and_a_bus_that_is_away_leaves_no_directory() {
    let mut kernel = Kernel::with(&[]);
    let steps = kernel.run(&mut Removal::new(true), 9);
    assert_eq!(steps, [Step::Look, Step::StopUnit, directory(""), Step::Look]);
    assert!(kernel.unit_stopped);
    let mut kernel = Kernel { unit_fails: true, ..Kernel::with(&["c"]) };
    let mut removal = Removal::new(true);
    kernel.run(&mut removal, 9);
    assert!(!kernel.there && *removal.step() == Step::Done);
    assert!(removal.stuck().unwrap().to_string().contains("stopping the slice failed: no bus"));
}

proptest! {
    /// Whatever the kernel does for a while: it ends, and nothing is left.
    #[test]
    fn a_cgroup_is_never_leaked(
        systemd: bool, populated: bool, looks in 0_u32..20, busy in 0_u32..20, unit_fails: bool,
        depth in 0_usize..6,
    ) {
        let names: Vec<String> = (1..=depth).map(|d| vec!["x"; d].join("/")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut kernel =
            Kernel { populated, looks_until_dead: looks, busy_for: busy, unit_fails, ..Kernel::with(&names) };
        let mut removal = Removal::new(systemd);
        kernel.run(&mut removal, 1000);
        prop_assert_eq!(removal.step(), &Step::Done);
        prop_assert!(!kernel.there);
        prop_assert!(removal.rounds() <= looks + busy + 2);
    }

    /// A shell that mixes outcomes up costs time only.
    #[test]
    fn outcomes_that_do_not_belong_to_the_step_never_end_it(kinds in proptest::collection::vec(0_u8..3, 0..40)) {
        let mut removal = Removal::new(true);
        for kind in kinds {
            removal.next(match kind {
                0 => Outcome::Done,
                1 => Outcome::Busy,
                _ => Outcome::Failed("x".to_owned()),
            });
            prop_assert_ne!(removal.step(), &Step::Done);
        }
        let mut kernel = Kernel::with(&["c"]);
        kernel.run(&mut removal, 100);
        prop_assert!(!kernel.there);
    }
}
