use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const GIB: u64 = 1 << 30;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn policy() -> Policy {
    Policy { high_percent: 85, low_percent: 80, min_age: secs(120), max_age: None }
}

fn image(id: &str, bytes: u64) -> Image {
    Image { id: id.to_owned(), bytes, is_pinned: false, is_used: false }
}

fn used(id: &str, bytes: u64) -> Image {
    Image { is_used: true, ..image(id, bytes) }
}

fn ids(plan: &Plan) -> Vec<&str> {
    plan.removals.iter().map(|r| r.id.as_str()).collect()
}

#[test]
fn row_15_2_images_go_from_the_upper_threshold_on_and_down_to_the_lower_one() {
    // Capacity, available, what is to come free.
    let table = [
        (100, 16, None),
        (100, 15, Some(5)),
        (100, 0, Some(20)),
        // 84.1 % are shown as 85.
        (1000, 159, Some(41)),
        (1000, 160, None),
        (20 * GIB, GIB, Some(3 * GIB)),
        (u64::MAX, 0, Some(u64::MAX / 5)),
    ];
    for (capacity, available, excess) in table {
        let space = Space::new(capacity, available).unwrap();
        assert_eq!(policy().excess(space), excess, "{available} of {capacity}");
    }
    let never = Policy { high_percent: 100, ..policy() };
    assert_eq!(never.excess(Space::new(100, 0).unwrap()), None);
    assert!(never.is_off() && !policy().is_off());
    assert!(!Policy { max_age: Some(secs(1)), ..never }.is_off());
}

#[test]
fn row_15_4_a_file_system_without_capacity_is_an_error_and_one_with_too_much_room_is_empty() {
    assert_eq!(Space::new(0, 5), Err(NoCapacity));
    assert_eq!(Space::new(100, 200).unwrap().used_percent(), 0);
}

#[test]
fn row_15_3_the_image_that_was_used_longest_ago_goes_first() {
    let mut history = History::default();
    history.look(&[used("a", 10), used("b", 10), image("c", 10)], secs(1000));
    history.look(&[used("a", 10), image("b", 10), image("c", 10), image("new", 10)], secs(1300));
    let now = [image("a", 10), image("b", 10), image("c", 10), image("new", 10), used("busy", 10)];
    history.look(&now, secs(1600));
    let plan = |bytes| history.plan(&now, &policy(), secs(1600), Wanted::Bytes(bytes));
    assert_eq!(ids(&plan(40)), ["c", "new", "b", "a"], "never used, the older first; then by their last use");
    assert_eq!(ids(&plan(11)), ["c", "new"], "no more than it takes");
    assert_eq!(plan(11).frees, 20);
    assert_eq!(ids(&plan(0)), [""; 0]);
    let all = history.plan(&now, &policy(), secs(1600), Wanted::All);
    assert_eq!((all.removals.len(), all.frees), (4, 40));
}

#[test]
fn row_15_3_what_is_in_use_pinned_or_young_stays_and_the_plan_says_so() {
    let mut history = History::default();
    let pinned = Image { is_pinned: true, ..image("pause", 700 << 10) };
    history.look(&[used("a", 3 * GIB), pinned.clone()], secs(1000));
    let now = [used("a", 3 * GIB), used("a2", GIB / 5), pinned, image("young", 5 << 20)];
    history.look(&now, secs(1100));
    let plan = history.plan(&now, &policy(), secs(1219), Wanted::All);
    assert_eq!(ids(&plan), [""; 0]);
    assert_eq!(
        plan.kept.to_string(),
        "2 in use (3.2 GiB), 1 pinned (700.0 KiB), 1 younger than 120 s (5.0 MiB)"
    );
    let plan = history.plan(&now, &policy(), secs(1220), Wanted::All);
    assert_eq!(ids(&plan), ["young"]);
    assert_eq!(Kept::default().to_string(), "");
}

#[test]
fn an_image_that_was_there_at_the_start_is_not_young() {
    let mut history = History::default();
    let there = [image("a", 10)];
    history.look(&there, secs(1000));
    assert_eq!(ids(&history.plan(&there, &policy(), secs(1000), Wanted::All)), ["a"]);
}

#[test]
fn row_15_3_an_image_goes_when_nobody_has_used_it_for_the_maximum_age() {
    let aging = Policy { max_age: Some(secs(3600)), ..policy() };
    let mut history = History::default();
    let images = [used("a", 10), image("b", 10)];
    history.look(&images, secs(1000));
    let later = [image("a", 10), image("b", 10)];
    history.look(&later, secs(1300));
    let plan = |at| history.plan(&later, &aging, secs(at), Wanted::Aged);
    // Not before the process itself has run for so long: nobody knows who used it before.
    assert_eq!(ids(&plan(4600)), [""; 0]);
    assert_eq!(ids(&plan(4601)), ["b", "a"]);
    assert!(plan(4601).removals.iter().all(|r| r.reason == Reason::Age));
    let both = history.plan(&later, &aging, secs(4700), Wanted::Bytes(5));
    assert_eq!(ids(&both), ["b", "a"], "both are too old, whatever room is wanted");
    let mixed = history.plan(&later, &aging, secs(4000), Wanted::Bytes(5));
    assert_eq!((ids(&mixed), mixed.removals[0].reason.label()), (vec!["b"], "space"));
}

#[test]
fn an_image_that_went_and_came_again_is_young_again() {
    let mut history = History::default();
    history.look(&[used("a", 10)], secs(1000));
    history.look(&[], secs(1300));
    let again = [image("a", 10)];
    history.look(&again, secs(1600));
    assert_eq!(ids(&history.plan(&again, &policy(), secs(1700), Wanted::All)), [""; 0]);
}

#[test]
fn a_failure_that_lasts_is_told_ever_more_rarely() {
    let mut complaints = Complaints::default();
    let told: Vec<u32> = (1..=50).filter(|_| complaints.failed()).map(|_| 0).collect();
    assert_eq!(told.len(), 7, "at 1, 2, 4, 8, 16, 32 and 48");
    complaints.ended();
    assert!(complaints.failed(), "and anew after it went well");
}

proptest! {
    #[test]
    fn whatever_there_is_nothing_goes_that_may_not_and_no_more_than_it_takes(
        kinds in vec((0_u64..1000, any::<bool>(), any::<bool>(), 0_u64..500), 0..40),
        bytes in 0_u64..5000,
    ) {
        let mut history = History::default();
        let images: Vec<Image> = kinds.iter().enumerate().map(|(n, (bytes, is_pinned, is_used, _))| Image {
            id: n.to_string(), bytes: *bytes, is_pinned: *is_pinned, is_used: *is_used,
        }).collect();
        history.look(&[], secs(0));
        // Each is first seen at its own time.
        let mut times: Vec<u64> = kinds.iter().map(|(.., at)| *at).collect();
        times.sort_unstable();
        for at in &times {
            let there: Vec<Image> = images.iter().zip(&kinds).filter(|(_, k)| k.3 <= *at).map(|(i, _)| i.clone()).collect();
            history.look(&there, secs(*at));
        }
        let plan = history.plan(&images, &policy(), secs(500), Wanted::Bytes(bytes));
        for removal in &plan.removals {
            let n: usize = removal.id.parse().unwrap();
            prop_assert!(!images[n].is_used && !images[n].is_pinned);
            prop_assert!(500 - kinds[n].3 >= 120, "younger than the minimum age");
        }
        let sum: u64 = plan.removals.iter().map(|r| r.bytes).sum();
        prop_assert_eq!(sum, plan.frees);
        if let Some(last) = plan.removals.last() {
            prop_assert!(sum - last.bytes < bytes, "one more than it takes");
        }
        let all = history.plan(&images, &policy(), secs(500), Wanted::All);
        prop_assert!(plan.frees >= bytes || plan.removals == all.removals);
        let kept = all.kept.used.count + all.kept.pinned.count + all.kept.young.count;
        prop_assert_eq!(kept + all.removals.len(), images.len());
    }
}
