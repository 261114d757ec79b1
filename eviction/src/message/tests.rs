use super::*;
use crate::observation::Parts;
use crate::ranking::rank;
use crate::ranking::tests::pod;
use crate::threshold::Amount;

fn threshold(signal: Signal, amount: &str) -> Threshold {
    Threshold { signal, amount: Amount::parse(amount).unwrap().unwrap(), grace: None, reclaim: None }
}

fn tell(threshold: &Threshold, left: Left, pods: &[Candidate], chosen: usize) -> Told {
    let ranking = rank(pods, threshold.signal.resource(), Parts::default());
    told(threshold, Some(left), pods, &ranking, chosen)
}

#[test]
fn row_29_14_the_message_begins_with_a_kubelets_and_says_why_it_was_this_pod() {
    let pods = [
        pod("small", 0, Some(3 << 20), 10 << 20),
        pod("hog", 0, Some(200 << 20), 0),
        pod("important", 7, Some(300 << 20), 1 << 20),
    ];
    let left = Left { available: 53 << 20, capacity: 512 << 20 };
    let told = tell(&threshold(Signal::MemoryAvailable, "100Mi"), left, &pods, 0);
    assert_eq!(
        told.message,
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 53Mi. Container c was using 200Mi, \
         request is 0, has larger consumption of memory. By memory.available, of 3 pods ranked: default/hog uses 200Mi of \
         0 requested, priority 0; default/important uses 300Mi of 1Mi requested, priority 7; default/small uses 3Mi of 10Mi \
         requested, priority 0. "
    );
    let annotations = [
        ("offending_containers", "c"),
        ("offending_containers_usage", "200Mi"),
        ("starved_resource", "memory"),
    ];
    assert_eq!(told.annotations, annotations.map(|(a, b)| (a.to_owned(), b.to_owned())).into());
}

#[test]
fn amounts_are_printed_as_a_kubelet_prints_them() {
    let begins = |signal, amount, available, capacity| {
        let pods = [pod("p", 0, None, 0)];
        let text = tell(&threshold(signal, amount), Left { available, capacity }, &pods, 0).message;
        text.split(". ").nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!(
        begins(Signal::NodefsAvailable, "10%", 2_000, 264_212_084 * 1024),
        "Threshold quantity: 27055317804, available: 2000"
    );
    assert_eq!(
        begins(Signal::NodefsInodesFree, "5%", 12_000, 1_000_000),
        "Threshold quantity: 50000, available: 12k"
    );
    assert_eq!(begins(Signal::PidAvailable, "1k", 900, 32_768), "Threshold quantity: 1k, available: 900");
    let text =
        tell(&threshold(Signal::MemoryUnstalled, "60%"), Left { available: 4_500, capacity: 10_000 }, &[], 0);
    assert!(text.message.contains("Work waited for memory 55.00 % of the time, threshold 40.00 %. "));
}

#[test]
fn a_critical_pod_that_is_passed_over_is_counted() {
    let mut pods = [pod("system", 0, Some(9 << 20), 0), pod("other", 0, Some(1 << 20), 0)];
    pods[0].critical = true;
    let left = Left { available: 1, capacity: 1 << 30 };
    let told = tell(&threshold(Signal::MemoryAvailable, "1Mi"), left, &pods, 1);
    assert!(
        told.message.ends_with(
            "By memory.available, of 2 pods ranked, 1 before it critical: default/other uses 1Mi of 0 requested, priority 0. "
        ),
        "{}",
        told.message
    );
}

#[test]
fn a_hundred_pods_of_long_names_fit_into_an_event() {
    let name = "n".repeat(253);
    let pods: Vec<Candidate> = (0..100).map(|n| pod(&name, n, Some(1 << 30), 0)).collect();
    let left = Left { available: 1, capacity: 1 << 30 };
    let told = tell(&threshold(Signal::MemoryAvailable, "100Mi"), left, &pods, 0);
    assert!(told.message.len() <= MOST, "{}", told.message.len());
    assert!(told.message.contains("more. "), "{}", told.message);
    let containers = vec![crate::pods::Container { name: "c".repeat(63), ..Default::default() }; 40];
    let mut many = pods;
    many[0].containers = containers;
    let text = tell(&threshold(Signal::MemoryAvailable, "100Mi"), left, &many, 0).message;
    assert!(text.starts_with("The node was low on resource: memory. "));
}
