//! `cargo xtask sim`: runs of the simulator by the thousand, or one of them told in full.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sim::{Scenario, run, shrink};

/// Lines of a failed run that are shown.
const SHOWN: usize = 60;
/// Failed runs that are told in full.
const TOLD: u64 = 3;

const USAGE: &str = "sim [--seeds N] [--first S] [--threads N]   runs seeds S to S + N - 1
sim --seed S [--full]                       runs one, and tells it where it fails
    --hours H                               of runs in which pods come and go for so long";

struct Options {
    first: u64,
    seeds: u64,
    threads: usize,
    full: bool,
    hours: Option<u64>,
}

impl Options {
    fn scenario(&self, seed: u64) -> Scenario {
        match self.hours {
            Some(hours) => Scenario::churn(seed, Duration::from_secs(hours * 3_600)),
            None => Scenario::new(seed),
        }
    }
}

fn options() -> Option<Options> {
    let mut found = Options { first: 0, seeds: 10_000, threads: 1, full: false, hours: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--full" {
            found.full = true;
            continue;
        }
        let value: u64 = words.next()?.parse().ok()?;
        match word.as_str() {
            "--seeds" => found.seeds = value,
            "--hours" => found.hours = Some(value.clamp(1, 1_000)),
            "--first" => found.first = value,
            "--seed" => {
                found.first = value;
                found.seeds = 1;
            }
            "--threads" => found.threads = usize::try_from(value).ok()?.clamp(1, 64),
            _ => return None,
        }
    }
    Some(found)
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let next = AtomicU64::new(options.first);
    let (failures, steps) = (AtomicU64::new(0), AtomicU64::new(0));
    let end = options.first.saturating_add(options.seeds);
    std::thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    match run(&options.scenario(seed), false) {
                        Ok(summary) => drop(steps.fetch_add(summary.steps, Ordering::Relaxed)),
                        Err(failed) => {
                            println!(
                                "seed {seed}: {} at {:?}: {}",
                                failed.broken.invariant, failed.at, failed.broken.what
                            );
                            if failures.fetch_add(1, Ordering::Relaxed) < TOLD {
                                tell(seed, failed.broken.invariant, &options);
                            }
                        }
                    }
                }
            });
        }
    });
    let failures = failures.into_inner();
    println!("{} runs, {} steps, {failures} failed", options.seeds, steps.into_inner());
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// Tells a failed run: a short one in its smallest form, a long one by its end.
fn tell(seed: u64, invariant: &str, options: &Options) {
    let hours = options.hours.map_or(String::new(), |hours| format!(" --hours {hours}"));
    println!("  again with: cargo xtask sim -- --seed {seed}{hours}");
    let scenario = options.scenario(seed);
    let failed = if options.hours.is_some() {
        run(&scenario, true).err()
    } else {
        let (smallest, failed) = shrink(&scenario, invariant);
        println!("  smallest run that fails so: {smallest:?}");
        failed
    };
    let Some(failed) = failed else { return };
    println!("  {} at {:?}: {}", failed.broken.invariant, failed.at, failed.broken.what);
    let skipped = if options.full { 0 } else { failed.timeline.len().saturating_sub(SHOWN) };
    for line in failed.timeline.iter().skip(skipped) {
        println!("  {line}");
    }
}
