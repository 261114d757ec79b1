use tokio::task::JoinHandle;

use super::*;

const PERIOD: Duration = Duration::from_secs(5);

struct Setup {
    pings: mpsc::Receiver<Ping>,
    runtime: watch::Sender<RuntimeState>,
    verdicts: watch::Receiver<Verdict>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

fn setup() -> Setup {
    let (ask, pings) = mpsc::channel(1);
    let (runtime, seen) = watch::channel(RuntimeState::default());
    let (said, verdicts) = watch::channel(Ok(()));
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(run(PERIOD, ask, seen, said, stopped));
    Setup { pings, runtime, verdicts, stop, task }
}

impl Setup {
    fn runtime_answers(&self) {
        self.runtime.send_modify(|state| state.answered = Some(Instant::now()));
    }

    /// The next verdict; whatever is asked of the pods meanwhile is answered where `alive`.
    async fn next(&mut self, alive: bool) -> Verdict {
        loop {
            tokio::select! {
                Some(ping) = self.pings.recv(), if alive => ping.send(()).expect("somebody who waits"),
                changed = self.verdicts.changed() => {
                    changed.expect("a task that runs");
                    return *self.verdicts.borrow_and_update();
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_well_while_pods_and_runtime_answer() {
    let mut daemon = setup();
    for _ in 0..40 {
        daemon.runtime_answers();
        assert_eq!(daemon.next(true).await, Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn pods_that_do_not_answer_end_it_after_ten_seconds_and_it_goes_on_when_they_do() {
    let mut daemon = setup();
    daemon.runtime_answers();
    let mut verdicts = Vec::new();
    for _ in 0..4 {
        daemon.runtime_answers();
        verdicts.push(daemon.next(false).await);
    }
    assert_eq!(
        verdicts,
        [Ok(()), Ok(()), Err(Ill::Pods), Err(Ill::Pods)],
        "looked at 0, 5, 10 and 15 s, and a bit"
    );
    daemon.runtime_answers();
    assert_eq!(daemon.next(true).await, Ok(()), "one answer is enough");
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_is_silent_for_a_minute_ends_it_also_when_it_never_spoke() {
    for spoke in [false, true] {
        let mut daemon = setup();
        if spoke {
            daemon.runtime_answers();
        }
        let began = Instant::now();
        while daemon.next(true).await.is_ok() {}
        let after = began.elapsed();
        assert!(after > RUNTIME_PATIENCE && after <= RUNTIME_PATIENCE + 2 * PERIOD, "{after:?}");
        daemon.runtime_answers();
        assert_eq!(daemon.next(true).await, Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_that_is_thrown_away_is_no_answer() {
    let mut daemon = setup();
    let mut last = Ok(());
    for _ in 0..5 {
        daemon.runtime_answers();
        last = daemon.next(false).await;
        while let Ok(ping) = daemon.pings.try_recv() {
            drop(ping);
        }
    }
    assert_eq!(last, Err(Ill::Pods));
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_the_daemon() {
    let Setup { stop, task, verdicts, .. } = setup();
    stop.send_replace(true);
    task.await.expect("an end in order");
    drop(verdicts);
}
