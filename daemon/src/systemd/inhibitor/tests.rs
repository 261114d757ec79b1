use super::*;

const GRACE: Duration = Duration::from_secs(30);
const ENOUGH: Input = Input::Reached { longest: GRACE, down: false };

/// Plays `inputs`, each so many seconds after the beginning, and gives what each of them brought.
fn played(inputs: &[(u64, Input)]) -> Vec<Vec<Effect>> {
    let start = Instant::now();
    let mut inhibitor = Inhibitor::new(GRACE);
    inputs.iter().map(|(after, input)| inhibitor.step(*input, start + Duration::from_secs(*after))).collect()
}

#[test]
fn a_shutdown_waits_until_the_pods_have_ended_and_their_statuses_are_written() {
    let brought = played(&[
        (0, ENOUGH),
        (1, Input::Prepare(true)),
        (5, Input::Tick),
        (6, Input::Over),
        (7, Input::Tick),
        (7, Input::Flushed),
        (8, Input::Tick),
    ]);
    let wanted = [
        vec![Effect::Inhibit],
        vec![Effect::Down(true)],
        vec![],
        vec![Effect::Flush],
        vec![],
        vec![Effect::Release],
        vec![],
    ];
    assert_eq!(brought, wanted);
}

#[test]
fn a_shutdown_waits_no_longer_than_the_pods_may_take_and_two_seconds() {
    let brought = played(&[
        (0, ENOUGH),
        (0, Input::Prepare(true)),
        (29, Input::Tick),
        (30, Input::Tick),
        (31, Input::Tick),
        (32, Input::Tick),
    ]);
    let wanted = [
        vec![Effect::Inhibit],
        vec![Effect::Down(true)],
        vec![],
        vec![Effect::Flush],
        vec![],
        vec![Effect::Release],
    ];
    assert_eq!(brought, wanted);
}

#[test]
fn what_logind_allows_is_raised_only_where_it_is_too_little() {
    let little = Input::Reached { longest: GRACE - Duration::from_secs(1), down: false };
    assert_eq!(
        played(&[(0, little), (1, Input::Raised)]),
        [vec![Effect::Raise(GRACE)], vec![Effect::Inhibit]]
    );
    assert_eq!(played(&[(0, ENOUGH)]), [vec![Effect::Inhibit]]);
}

#[test]
fn a_machine_that_stays_up_after_all_takes_pods_again_and_can_go_down_once_more() {
    for before in [vec![], vec![Input::Over], vec![Input::Over, Input::Flushed]] {
        let mut inputs = vec![(0, ENOUGH), (1, Input::Prepare(true))];
        inputs.extend(before.iter().map(|input| (2, *input)));
        inputs.extend([(3, Input::Prepare(false)), (4, Input::Prepare(true))]);
        let brought = played(&inputs);
        let last = &brought[brought.len() - 2..];
        assert_eq!(
            last,
            [vec![Effect::Down(false), Effect::Inhibit], vec![Effect::Down(true)]],
            "{before:?}"
        );
    }
}

#[test]
fn a_daemon_that_starts_while_the_machine_goes_down_ends_the_pods_without_a_lock() {
    let down = Input::Reached { longest: Duration::ZERO, down: true };
    let brought = played(&[(0, down), (1, Input::Over)]);
    assert_eq!(brought, [vec![Effect::Down(true)], vec![Effect::Flush]]);
}

#[test]
fn a_bus_that_comes_back_brings_what_was_missed() {
    let down = Input::Reached { longest: GRACE, down: true };
    let again = |missed: Input| played(&[(0, ENOUGH), (1, Input::Prepare(true)), (2, missed)])[2].clone();
    assert_eq!(again(down), [], "it goes on, with the lock that it has");
    assert_eq!(again(ENOUGH), [Effect::Down(false), Effect::Inhibit]);
    let missed_begin = played(&[(0, ENOUGH), (1, down)]);
    assert_eq!(missed_begin[1], [Effect::Down(true)]);
    assert_eq!(played(&[(0, ENOUGH), (1, ENOUGH)])[1], [Effect::Inhibit], "logind may have lost the lock");
}

#[test]
fn what_comes_late_changes_nothing() {
    for late in [Input::Over, Input::Flushed, Input::Tick] {
        assert_eq!(played(&[(0, ENOUGH), (90, late)])[1], [], "{late:?} while the machine is up");
    }
    let twice = played(&[(0, ENOUGH), (1, Input::Prepare(true)), (2, Input::Prepare(true))]);
    assert_eq!(twice[2], [], "the time is counted once");
}
