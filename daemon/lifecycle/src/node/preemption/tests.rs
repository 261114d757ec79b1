use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::super::testing::pod;
use super::*;

const CRITICAL: i32 = 2_000_000_000;

/// A pod with these millis and MiB; `limits` as large as the requests make it guaranteed.
fn claim(number: u64, priority: i32, cpu: u32, memory: u32, guaranteed: bool) -> Claim {
    let mut requests = json!({});
    if cpu > 0 {
        requests["cpu"] = format!("{cpu}m").into();
    }
    if memory > 0 {
        requests["memory"] = format!("{memory}Mi").into();
    }
    let limits = if guaranteed { requests.clone() } else { json!({}) };
    let resources = json!({"requests": requests, "limits": limits});
    let object = json!({"spec": {
        "priority": priority, "containers": [{"name": "c", "resources": resources}]}});
    Claim::of(&pod(object), number)
}

fn burstable(number: u64, cpu: u32, memory: u32) -> Claim {
    claim(number, 0, cpu, memory, false)
}

fn cpu(missing: i64) -> Missing {
    vec![("cpu".to_owned(), missing)]
}

fn put_out(preemptor: &Claim, pods: &[(&str, Claim)], missing: &Missing) -> Result<Vec<String>, String> {
    victims(preemptor, pods.iter().map(|(uid, claim)| (*uid, claim)), missing)
}

fn critical() -> Claim {
    claim(99, CRITICAL, 100, 0, false)
}

#[test]
fn row_3_2_critical_pods_are_put_out_only_by_those_of_higher_priority() {
    let pods = [("other", claim(0, CRITICAL, 1000, 0, false))];
    let nobody = "no set of running pods found to reclaim resources: [(res: cpu, q: 100), ]";
    assert_eq!(put_out(&critical(), &pods, &cpu(100)), Err(nobody.to_owned()));
    let higher = claim(99, CRITICAL + 1, 100, 0, false);
    assert_eq!(put_out(&higher, &pods, &cpu(100)), Ok(vec!["other".to_owned()]));
    let lower = claim(99, CRITICAL, 100, 0, false);
    let pods = [("other", claim(0, CRITICAL + 1, 1000, 0, false))];
    assert!(put_out(&lower, &pods, &cpu(100)).is_err());
    // Static pods are critical whatever their priority; without one there is nothing to compare.
    let annotations = json!({"kubernetes.io/config.source": "file"});
    let fixed = json!({"metadata": {"annotations": annotations}, "spec": {
        "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}});
    let pods = [("fixed", Claim::of(&pod(fixed), 0))];
    assert!(put_out(&higher, &pods, &cpu(100)).is_err());
}

#[test]
fn row_3_3_those_who_were_promised_less_go_first() {
    let pods = [
        ("guaranteed", claim(0, 0, 1000, 64, true)),
        ("burstable", burstable(1, 1000, 0)),
        ("best-effort", burstable(2, 0, 0)),
    ];
    assert_eq!(put_out(&critical(), &pods, &cpu(500)), Ok(vec!["burstable".to_owned()]));
    let both = put_out(&critical(), &pods, &cpu(1500));
    assert_eq!(both, Ok(vec!["burstable".to_owned(), "guaranteed".to_owned()]));
    // A place is all that one who was promised nothing can give.
    let place = vec![("pods".to_owned(), 1)];
    assert_eq!(put_out(&critical(), &pods, &place), Ok(vec!["best-effort".to_owned()]));
}

#[test]
fn row_3_3_of_a_class_the_nearest_goes_and_of_two_the_smaller_one() {
    let pods = [
        ("large", burstable(0, 2000, 4096)),
        ("small", burstable(1, 600, 64)),
        ("fit", burstable(2, 500, 128)),
        ("tiny", burstable(3, 100, 1)),
    ];
    // Three of them are enough alone; the one with the least memory goes.
    assert_eq!(put_out(&critical(), &pods, &cpu(500)), Ok(vec!["small".to_owned()]));
    // None but the large one is enough alone.
    assert_eq!(put_out(&critical(), &pods, &cpu(700)), Ok(vec!["large".to_owned()]));
    // Each missing resource counts the same.
    let missing = vec![("cpu".to_owned(), 100), ("memory".to_owned(), 100 << 20)];
    assert_eq!(put_out(&critical(), &pods, &missing), Ok(vec!["fit".to_owned()]));
    // Of two that are alike the younger one goes.
    let twins = [("old", burstable(0, 500, 64)), ("young", burstable(1, 500, 64))];
    assert_eq!(put_out(&critical(), &twins, &cpu(100)), Ok(vec!["young".to_owned()]));
}

#[test]
fn row_3_3_when_all_together_are_not_enough_nobody_goes() {
    let pods = [("a", burstable(0, 500, 64)), ("b", burstable(1, 500, 64))];
    let why =
        "no set of running pods found to reclaim resources: [(res: cpu, q: 500), (res: memory, q: 1), ]";
    let missing = vec![("cpu".to_owned(), 1500), ("memory".to_owned(), (128 << 20) + 1)];
    assert_eq!(put_out(&critical(), &pods, &missing), Err(why.to_owned()));
}

fn any_claim() -> impl Strategy<Value = Claim> {
    let priority = prop_oneof![Just(0), Just(1000), Just(CRITICAL), Just(CRITICAL + 1), Just(CRITICAL + 2)];
    (priority, 0_u32..2000, 0_u32..2000, any::<bool>())
        .prop_map(|(priority, cpu, memory, guaranteed)| claim(0, priority, cpu, memory, guaranteed))
}

proptest! {
    #[test]
    fn whoever_goes_was_allowed_to_go_and_together_they_are_enough(
        claims in proptest::collection::vec(any_claim(), 0..12),
        priority in CRITICAL..CRITICAL + 3,
        millis in 0_i64..4000,
        mebibytes in 0_i64..4000,
    ) {
        let preemptor = claim(99, priority, 0, 0, false);
        let pods: BTreeMap<String, Claim> = claims
            .into_iter()
            .zip(0..)
            .map(|(claim, number)| (format!("p{number}"), Claim { number, ..claim }))
            .collect();
        let wanted = [("cpu".to_owned(), millis), ("memory".to_owned(), mebibytes << 20)];
        let missing: Missing = wanted.into_iter().filter(|(_, amount)| *amount > 0).collect();
        let freed = |uids: &[String], name: &str| uids.iter().map(|uid| pods[uid].request(name)).sum::<i64>();
        let allowed: Vec<String> = pods
            .iter()
            .filter(|(_, c)| !c.critical || c.priority < Some(priority))
            .map(|(uid, _)| uid.clone())
            .collect();
        match victims(&preemptor, pods.iter().map(|(uid, claim)| (uid.as_str(), claim)), &missing) {
            Ok(chosen) => {
                prop_assert!(chosen.iter().all(|uid| allowed.contains(uid)));
                prop_assert!(missing.iter().all(|(name, amount)| freed(&chosen, name) >= *amount));
                // No guaranteed pod goes while all the others together would have been enough.
                let guaranteed = |uid: &&String| pods[*uid].qos == QosClass::Guaranteed;
                if chosen.iter().any(|uid| guaranteed(&uid)) {
                    let others: Vec<String> = allowed.iter().filter(|u| !guaranteed(u)).cloned().collect();
                    prop_assert!(missing.iter().any(|(name, amount)| freed(&others, name) < *amount));
                }
                // The last one of the smallest class was needed.
                if let Some((_, rest)) = chosen.split_first() {
                    prop_assert!(missing.iter().any(|(name, amount)| freed(rest, name) < *amount));
                }
            }
            Err(_) => {
                prop_assert!(missing.iter().any(|(name, amount)| freed(&allowed, name) < *amount));
            }
        }
    }
}
