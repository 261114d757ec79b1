//! A recording as a page of text.

use std::fmt::Write as _;
use std::time::Duration;

use lifecycle::{Now, Recording};

/// The pod, why it is as it is, what it waits for, and what happened when.
pub(super) fn story(recording: &Recording, now: Now) -> String {
    let played = recording.play();
    let pod = &played.pod;
    let meta = &pod.spec().metadata;
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    let mut page = String::new();
    let phase = pod.status().and_then(|s| s.phase.clone()).unwrap_or_else(|| "not told yet".to_owned());
    let (namespace, name, uid) = (part(&meta.namespace), part(&meta.name), part(&meta.uid));
    let mut line = |text: String| {
        // Writing to a string does not fail.
        let _ = writeln!(page, "{text}");
    };
    line(format!("Pod {namespace}/{name} (uid {uid})"));
    line(format!("State:   {}; phase {phase}, status version {}", pod.stage_told(), pod.version()));
    let waits = pod.waits();
    if waits.is_empty() {
        line("Waits:   for nothing".to_owned());
    } else {
        line("Waits for:".to_owned());
    }
    for wait in waits {
        let until = wait.until.map(|at| until(at, now)).unwrap_or_default();
        line(format!("  - {}{until}", wait.what));
    }
    line("Story:".to_owned());
    for told in played.lines {
        line(format!("  {:.3}  {}", told.at, told.text));
    }
    page
}

fn until(at: Duration, now: Now) -> String {
    match at.checked_sub(now.boot).filter(|left| !left.is_zero()) {
        Some(left) => {
            let wall = now.wall.checked_add(left).unwrap_or(now.wall);
            format!(" (until {wall:.0}, {:.1} s from now)", left.as_secs_f64())
        }
        None => " (due)".to_owned(),
    }
}
