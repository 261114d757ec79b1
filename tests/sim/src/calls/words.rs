//! Inputs and effects in a few words, for the timeline.

use lifecycle::{Answer, Effect, Input};

pub(crate) fn input(input: &Input) -> String {
    match input {
        Input::Assigned(a) => {
            let meta = &a.pod.metadata;
            let phase = a.pod.status.as_ref().and_then(|s| s.phase.clone()).unwrap_or_default();
            let kept = a.kept.ends_at.map(|d| d.boot);
            format!(
                "Assigned {:?} generation {:?} deleted {:?} grace {:?} phase {phase:?} kept end {kept:?}",
                a.origin,
                meta.generation,
                meta.deletion_timestamp.is_some(),
                meta.deletion_grace_period_seconds,
            )
        }
        Input::Answered { op, outcome: Ok(Answer::Observed(o)) } => {
            let containers: Vec<String> = o
                .containers
                .iter()
                .map(|c| format!("{}#{} {:?} {}", c.id, c.restart_count, c.state, c.exit_code))
                .collect();
            let sandboxes: Vec<String> = o
                .sandboxes
                .iter()
                .map(|s| format!("{}#{} {}", s.id, s.attempt, if s.ready { "ready" } else { "not ready" }))
                .collect();
            format!("answer {} observed: {} | {}", op.0, sandboxes.join(", "), containers.join(", "))
        }
        Input::Answered { op, outcome: Ok(answer) } => format!("answer {} {answer:?}", op.0),
        Input::Answered { op, outcome: Err(failure) } => {
            format!("answer {} failed: {:?} {}", op.0, failure.kind, failure.message)
        }
        other => format!("{other:?}"),
    }
}

pub(crate) fn effect(effect: &Effect) -> String {
    match effect {
        Effect::Publish { version, status } => {
            let lists = [
                &status.init_container_statuses,
                &status.container_statuses,
                &status.ephemeral_container_statuses,
            ];
            let containers: Vec<String> = lists
                .into_iter()
                .flatten()
                .flatten()
                .map(|c| {
                    let state = c.state.clone().unwrap_or_default();
                    let state = match (state.waiting, state.running, state.terminated) {
                        (Some(w), ..) => w.reason.unwrap_or_default(),
                        (_, Some(_), _) => "running".to_owned(),
                        (.., Some(t)) => format!("{} {}", t.reason.unwrap_or_default(), t.exit_code),
                        _ => "?".to_owned(),
                    };
                    format!("{}#{} {state}{}", c.name, c.restart_count, if c.ready { " ready" } else { "" })
                })
                .collect();
            let phase = status.phase.as_deref().unwrap_or_default();
            format!("Publish {version}: {phase} {:?} [{}]", status.reason, containers.join(", "))
        }
        Effect::Call { op, call } => {
            let mut words = format!("{call:?}");
            if let Some((end, _)) = words.char_indices().nth(180) {
                words.truncate(end);
            }
            format!("call {} {words}", op.0)
        }
        Effect::Event(event) => format!("event {} {}", event.reason, event.message),
        other => format!("{other:?}"),
    }
}
