//! Who may run on the node.
//!
//! ```text
//!            name is another's      object not seen     only the labels are wrong       critical, and no room
//!   asks --------> Name ----.   .------> Object ---.   .-----> Labels ----------.   .------> Victims -----------.
//!     |                     v   |                  v   |  (node is read again)  v   |   (others are put out)    v
//!     `-------------------> judged <-------------------'------------------------'---'---------------------------'
//!                           |  |  `--> Room: there will be some when those that are put out have ended
//!                  Admitted '  ' Refused
//! ```
//!
//! A pod that runs already is not judged; it only counts. What is admitted counts until it has ended, and so does a pod
//! that was admitted by an earlier daemon and has not asked yet, so that a new pod does not get what it has.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod as ApiPod;

use super::NodeEffect;
use super::checks::{self, Finding};
use super::claim::{self, Claim, amounts};
use super::facts::Facts;
use super::fit;
use super::names::Names;
use super::preemption::{self, MESSAGE, REASON};
use super::refusal::Refusal;
use super::resizes::Resizes;
use crate::effect::{Event, EventType};

/// The least time that a pod which is put out is waited for (behaviour.md 4.11).
const LEAST_PATIENCE: Duration = Duration::from_secs(10);

/// What a pod that has asked waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// For the end of another of its name.
    Name,
    /// For the first sight of the node's object.
    Object,
    /// For the node's labels of now; whether they are being read already.
    Labels { reading: bool },
    /// For the end of pods that are put out for somebody else.
    Room,
    /// For the end of these pods.
    Victims { left: BTreeSet<String> },
}

#[derive(Debug)]
struct Asking {
    pod: Arc<ApiPod>,
    stage: Stage,
}

/// What a pod that is judged again need not show any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Settled {
    /// Its labels were compared with the node's of now.
    labels: bool,
    /// Room was made for it.
    room: bool,
}

/// See the module's page.
#[derive(Debug)]
pub(super) struct Admission {
    facts: Arc<Facts>,
    names: Names,
    claims: BTreeMap<String, Claim>,
    claimed: u64,
    asking: BTreeMap<String, Asking>,
    /// Who is put out, and until when that is waited for (boot time).
    leaving: BTreeMap<String, Duration>,
    resizes: Resizes,
}

impl Admission {
    pub(super) fn new(facts: Arc<Facts>) -> Self {
        Self {
            facts,
            names: Names::default(),
            claims: BTreeMap::new(),
            claimed: 0,
            asking: BTreeMap::new(),
            leaving: BTreeMap::new(),
            resizes: Resizes::default(),
        }
    }

    /// A pod that may have been admitted before; it counts until it has asked or ended.
    pub(super) fn expect(&mut self, uid: String, pod: &ApiPod, known: bool) {
        if (known || has_started(pod))
            && !is_over(pod)
            && !self.claims.contains_key(&uid)
            && !self.asking.contains_key(&uid)
        {
            self.names.take(&podspec::pod_full_name(pod), &uid);
            self.claim(uid, pod);
        }
    }

    /// A pod that runs: it counts, whatever there is of the node.
    pub(super) fn adopt(&mut self, uid: String, pod: &ApiPod, out: &mut Vec<NodeEffect>) {
        self.asking.remove(&uid);
        self.names.take(&podspec::pod_full_name(pod), &uid);
        self.claim(uid.clone(), pod);
        out.push(NodeEffect::Admitted { uid });
    }

    /// A pod that wants to run.
    pub(super) fn ask(&mut self, uid: String, pod: Arc<ApiPod>, now: Duration, out: &mut Vec<NodeEffect>) {
        let mine = self.names.ask(&podspec::pod_full_name(&pod), &uid);
        self.asking.insert(uid.clone(), Asking { pod, stage: Stage::Name });
        if mine {
            self.judge(uid, Settled::default(), now, out);
        }
    }

    /// A pod that runs wants the resources of its spec.
    pub(super) fn ask_resize(&mut self, uid: String, pod: Arc<ApiPod>, out: &mut Vec<NodeEffect>) {
        self.resizes.ask(uid, pod);
        self.resizes.grant(&mut self.claims, &self.facts, out);
    }

    /// Nothing of the pod runs any more, or it is gone.
    pub(super) fn ended(&mut self, uid: &str, now: Duration, out: &mut Vec<NodeEffect>) {
        self.resizes.forget(uid);
        self.asking.remove(uid);
        self.claims.remove(uid);
        for next in self.names.release(uid) {
            self.judge(next, Settled::default(), now, out);
        }
        self.left(uid, now, out);
        self.resizes.grant(&mut self.claims, &self.facts, out);
    }

    /// The node has become another.
    pub(super) fn changed(&mut self, facts: Arc<Facts>, now: Duration, out: &mut Vec<NodeEffect>) {
        self.facts = facts;
        if self.facts.seen {
            self.again(|stage| *stage == Stage::Object, Settled::default(), now, out);
        }
        self.resizes.grant(&mut self.claims, &self.facts, out);
    }

    /// The node was read anew for those whose labels were wrong; what was found came before.
    pub(super) fn read(&mut self, now: Duration, out: &mut Vec<NodeEffect>) {
        let settled = Settled { labels: true, room: false };
        self.again(|stage| *stage == Stage::Labels { reading: true }, settled, now, out);
        // Whoever has asked meanwhile may know of a label that came later than the answer.
        self.begin_reading(out);
    }

    /// Those that have been waited for long enough are left to themselves (behaviour.md 4.11).
    pub(super) fn tick(&mut self, now: Duration, out: &mut Vec<NodeEffect>) {
        let overdue = self.leaving.iter().filter(|(_, until)| **until <= now);
        let overdue: Vec<String> = overdue.map(|(uid, _)| uid.clone()).collect();
        for uid in overdue {
            out.push(exceeded(&uid));
            self.left(&uid, now, out);
        }
    }

    /// The boot time at which [`Self::tick`] is due.
    pub(super) fn next_wake(&self) -> Option<Duration> {
        self.leaving.values().min().copied()
    }

    /// Whether the node goes down.
    pub(super) fn is_going_down(&self) -> bool {
        self.facts.shutting_down
    }

    /// What the pods have of the node, by UID.
    pub(super) fn claims(&self) -> &BTreeMap<String, Claim> {
        &self.claims
    }

    fn claim(&mut self, uid: String, pod: &ApiPod) {
        self.claimed += 1;
        let number = self.claims.get(&uid).map_or(self.claimed, |claim| claim.number);
        self.claims.insert(uid, Claim::of(pod, number));
    }

    /// Judges a pod, and whoever gets the name of one that is refused.
    fn judge(&mut self, uid: String, settled: Settled, now: Duration, out: &mut Vec<NodeEffect>) {
        let mut turns = VecDeque::from([(uid, settled)]);
        while let Some((uid, settled)) = turns.pop_front() {
            let Some(asking) = self.asking.get(&uid) else { continue };
            let pod = Arc::clone(&asking.pod);
            match self.verdict(&uid, &pod, settled) {
                Verdict::Admit => {
                    self.asking.remove(&uid);
                    self.claim(uid.clone(), &pod);
                    out.push(NodeEffect::Admitted { uid });
                }
                Verdict::Refuse(Refusal { reason, message }) => {
                    self.asking.remove(&uid);
                    self.claims.remove(&uid);
                    let next = self.names.release(&uid);
                    turns.extend(next.into_iter().map(|next| (next, Settled::default())));
                    out.push(NodeEffect::Refused { uid, reason, message });
                }
                Verdict::Wait(stage) => {
                    self.set_stage(&uid, stage);
                    self.begin_reading(out);
                }
                Verdict::PutOut { victims, signal } => {
                    out.extend(victims.iter().flat_map(|victim| preempt(victim, &signal)));
                    self.put_out(&victims, now);
                    // From now on the room is taken, so that nobody else gets it.
                    self.claim(uid.clone(), &pod);
                    self.set_stage(&uid, Stage::Victims { left: victims.into_iter().collect() });
                }
            }
        }
    }

    fn verdict(&self, uid: &str, pod: &ApiPod, settled: Settled) -> Verdict {
        let facts = &*self.facts;
        // Labels and taints decide about a new pod of the API: they are not guessed (behaviour.md 1.1).
        if !facts.seen && !podspec::is_static(pod) && !self.claims.contains_key(uid) {
            return Verdict::Wait(Stage::Object);
        }
        let others = self.claims.iter().filter(|(other, _)| *other != uid);
        match checks::judge(pod, others.clone().map(|(_, claim)| claim), facts) {
            Finding::Fits => Verdict::Admit,
            Finding::Refused(refusal) => Verdict::Refuse(refusal),
            Finding::WrongLabels(refusal) if settled.labels => Verdict::Refuse(refusal),
            Finding::WrongLabels(_) => Verdict::Wait(Stage::Labels { reading: false }),
            Finding::Short(_) if settled.room => Verdict::Admit,
            Finding::Short(shortages) => {
                let critical = podspec::is_critical(pod);
                if self.is_making_room() && (critical || self.will_fit(uid, pod)) {
                    return Verdict::Wait(Stage::Room);
                }
                if !critical {
                    let refusal = shortages.first().map(fit::Shortage::refusal);
                    // `Short` without a shortage does not come: nothing would be short.
                    return refusal.map_or(Verdict::Admit, Verdict::Refuse);
                }
                let missing: Vec<(String, i64)> =
                    shortages.iter().map(|s| (s.resource.clone(), s.missing())).collect();
                let own = Claim::of(pod, self.claimed);
                let others = others.map(|(uid, claim)| (uid.as_str(), claim));
                match preemption::victims(&own, others, &missing) {
                    Ok(victims) => {
                        let signal =
                            missing.first().map(|(resource, _)| resource.clone()).unwrap_or_default();
                        Verdict::PutOut { victims, signal }
                    }
                    Err(why) => Verdict::Refuse(Refusal::new(
                        "UnexpectedAdmissionError",
                        format!(
                            "Unexpected error while attempting to recover from admission failure: \
                             preemption: error finding a set of pods to preempt: {why}"
                        ),
                    )),
                }
            }
        }
    }

    fn set_stage(&mut self, uid: &str, stage: Stage) {
        if let Some(asking) = self.asking.get_mut(uid) {
            asking.stage = stage;
        }
    }

    /// Judges those in a stage again, the oldest pod first.
    fn again(
        &mut self,
        is_meant: impl Fn(&Stage) -> bool,
        settled: Settled,
        now: Duration,
        out: &mut Vec<NodeEffect>,
    ) {
        let mut meant: Vec<(String, Arc<ApiPod>)> = self
            .asking
            .iter()
            .filter(|(_, asking)| is_meant(&asking.stage))
            .map(|(uid, asking)| (uid.clone(), Arc::clone(&asking.pod)))
            .collect();
        meant.sort_by_key(|(_, pod)| created(pod));
        for (uid, _) in meant {
            self.judge(uid, settled, now, out);
        }
    }

    fn is_making_room(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Whether a pod fits in when those that are put out have ended.
    fn will_fit(&self, uid: &str, pod: &ApiPod) -> bool {
        let allocatable = amounts(&self.facts.allocatable);
        let stays = |other: &String| other != uid && !self.leaving.contains_key(other);
        let staying = self.claims.iter().filter(|(other, _)| stays(other));
        let used = claim::sum(staying.map(|(_, claim)| claim));
        fit::shortages(&fit::wanted(pod, &allocatable), &used, &allocatable).is_empty()
    }

    /// One that was put out is waited for no more: whoever has waited only for it is judged, and when it was the last of
    /// all, those that hoped to fit in beside.
    fn left(&mut self, uid: &str, now: Duration, out: &mut Vec<NodeEffect>) {
        if self.leaving.remove(uid).is_none() {
            return;
        }
        let mut served = Vec::new();
        for (preemptor, asking) in &mut self.asking {
            if let Stage::Victims { left } = &mut asking.stage
                && left.remove(uid)
                && left.is_empty()
            {
                served.push(preemptor.clone());
            }
        }
        for preemptor in served {
            self.judge(preemptor, Settled { room: true, labels: false }, now, out);
        }
        if !self.is_making_room() {
            self.again(|stage| *stage == Stage::Room, Settled::default(), now, out);
        }
    }

    /// Has the node read for those whose labels are wrong, one reading at a time.
    fn begin_reading(&mut self, out: &mut Vec<NodeEffect>) {
        let under_way = self.asking.values().any(|a| a.stage == Stage::Labels { reading: true });
        let mut any = false;
        for asking in self.asking.values_mut().filter(|_| !under_way) {
            if let Stage::Labels { reading } = &mut asking.stage {
                *reading = true;
                any = true;
            }
        }
        if any {
            out.push(NodeEffect::RereadNode);
        }
    }

    /// Notes how long each of these pods may take to end (behaviour.md 4.11).
    fn put_out(&mut self, victims: &[String], now: Duration) {
        for uid in victims {
            let grace = self.claims.get(uid).map(|claim| claim.grace).unwrap_or_default();
            let patience = grace.saturating_add(grace / 2).max(LEAST_PATIENCE);
            self.leaving.insert(uid.clone(), now.saturating_add(patience));
        }
    }
}

enum Verdict {
    Admit,
    Refuse(Refusal),
    Wait(Stage),
    /// These first, as this resource is short.
    PutOut {
        victims: Vec<String>,
        signal: String,
    },
}

/// Whether a daemon has begun with the pod.
fn has_started(pod: &ApiPod) -> bool {
    pod.status.as_ref().is_some_and(|status| status.start_time.is_some())
}

fn is_over(pod: &ApiPod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Pods are judged in this order where they ask together. Static pods, which nobody has created, come first.
pub(super) fn created(pod: &ApiPod) -> Option<i128> {
    pod.metadata.creation_timestamp.as_ref().map(|time| time.0.as_nanosecond())
}

fn preempt(victim: &str, signal: &str) -> [NodeEffect; 2] {
    let (uid, signal) = (victim.to_owned(), signal.to_owned());
    [
        event(victim, REASON, MESSAGE),
        NodeEffect::End {
            uid,
            reason: REASON.to_owned(),
            message: MESSAGE.to_owned(),
            grace: None,
            signal: Some(signal),
        },
    ]
}

fn exceeded(victim: &str) -> NodeEffect {
    event(
        victim,
        "ExceededGracePeriod",
        "Container runtime did not kill the pod within specified grace period.",
    )
}

fn event(uid: &str, reason: &'static str, message: &str) -> NodeEffect {
    let event = Event {
        kind: EventType::Warning,
        reason: reason.into(),
        message: message.to_owned(),
        field_path: None,
    };
    NodeEffect::Event { uid: uid.to_owned(), event }
}

#[cfg(test)]
mod tests;
