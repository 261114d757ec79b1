use super::*;
use crate::observation::Left;
use crate::threshold::Amount;

fn threshold(signal: Signal, amount: &str) -> Threshold {
    Threshold { signal, amount: Amount::parse(amount).unwrap().unwrap(), grace: None, reclaim: None }
}

fn wait(signal: Signal, amount: &str, available: u64, capacity: u64) -> Duration {
    let left = [(signal, Left { available, capacity })].into();
    until_next_look(&[threshold(signal, amount)], &Observation { left, ..Observation::default() })
}

#[test]
fn far_from_every_threshold_a_look_each_ten_seconds_is_enough() {
    const GIB: u64 = 1 << 30;
    assert_eq!(wait(Signal::MemoryAvailable, "100Mi", 3 * GIB, 4 * GIB).as_millis(), 7_255);
    assert_eq!(wait(Signal::MemoryAvailable, "100Mi", 4 * GIB, 4 * GIB).as_millis(), 9_755);
    assert_eq!(wait(Signal::MemoryAvailable, "100Mi", 64 * GIB, 64 * GIB).as_millis(), 9_984);
    assert_eq!(wait(Signal::MemoryAvailable, "100Mi", 20 * GIB, 64 * GIB).as_millis(), 3_109);
    assert_eq!(wait(Signal::NodefsAvailable, "10%", 90 * GIB, 100 * GIB), SLOWEST);
    assert_eq!(wait(Signal::PidAvailable, "5%", 4_000_000, 4_194_304), SLOWEST);
    assert_eq!(until_next_look(&[], &Observation::default()), SLOWEST);
}

#[test]
fn near_one_the_looks_come_quickly_but_never_all_the_time() {
    const MIB: u64 = 1 << 20;
    assert_eq!(wait(Signal::MemoryAvailable, "100Mi", 100 * MIB, 512 * MIB), Duration::from_millis(100));
    assert_eq!(wait(Signal::MemoryAvailable, "100Mi", 228 * MIB, 512 * MIB), Duration::from_millis(500));
    assert_eq!(wait(Signal::MemoryAvailable, "100Mi", 99 * MIB, 512 * MIB), Duration::from_secs(1));
    assert_eq!(wait(Signal::NodefsAvailable, "10Mi", 11 * MIB, 64 * MIB), Duration::from_secs(1));
}

#[test]
fn a_look_comes_before_the_fastest_disks_and_processes_can_have_crossed() {
    const GIB: u64 = 1 << 30;
    let seconds = |signal, left, capacity| wait(signal, "1", left + 1, capacity).as_secs_f64();
    assert_eq!(seconds(Signal::NodefsAvailable, 8 * GIB, 1 << 40), 2.0, "4 GiB a second");
    assert_eq!(seconds(Signal::ImagefsInodesFree, 1_000_000, 1 << 30), 5.0, "200,000 a second");
    assert_eq!(seconds(Signal::PidAvailable, 100_000, 4_194_304), 2.0, "50,000 a second");
}

/// Whatever grows no faster than is assumed is seen within the quickest look of its crossing.
#[test]
fn growth_within_the_bound_is_never_seen_late() {
    const MIB: u64 = 1 << 20;
    bolero::check!().with_type::<(u16, u8)>().for_each(|(margin, speed): &(u16, u8)| {
        let (capacity, threshold) = (2_048 * MIB, 100 * MIB);
        let mut available = threshold + u64::from(*margin) * 1024;
        let rate = 256 * MIB * u64::from(*speed) / 255;
        for _ in 0..200 {
            if available < threshold {
                let late = (threshold - available) as f64 / rate.max(1) as f64;
                assert!(late <= 0.101, "seen {late} s late");
                return;
            }
            let wait = wait(Signal::MemoryAvailable, "100Mi", available, capacity);
            available = available.saturating_sub((rate as f64 * wait.as_secs_f64()) as u64);
        }
    });
}
