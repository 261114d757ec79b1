use k8s_openapi::api::core::v1::Taint;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use tokio::task::JoinSet;

use super::*;
use crate::node::writer::tests::settings;

fn seen() -> NodeView {
    NodeView {
        name: "node1".into(),
        labels: [("zone".to_owned(), "a".to_owned())].into(),
        taints: vec![Taint { key: "down".into(), effect: "NoExecute".into(), ..Taint::default() }],
        allocatable: [("cpu".to_owned(), Quantity("1500m".into()))].into(),
        ..NodeView::default()
    }
}

#[test]
fn before_the_object_is_seen_the_node_is_what_it_is_registered_as() {
    let mut settings = settings();
    settings.node_labels.push(("zone".to_owned(), "b".to_owned()));
    let facts = local(&settings);
    assert!(!facts.seen);
    assert_eq!(facts.labels["zone"], "b");
    assert_eq!(facts.labels["kubernetes.io/os"], "linux");
    assert_eq!(facts.allocatable["cpu"].value(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_anybody_learns_of_the_node_is_shown_and_a_deleted_object_is_remembered() {
    let (view, node) = watch::channel(None);
    let (pressure, pressures) = watch::channel(Pressures::default());
    let (state, runtime) = watch::channel(RuntimeState::default());
    let (_stop, stop) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let (goes_down, down) = watch::channel(false);
    let origins =
        Origins { node: Some(node), pressures: Some(pressures), runtime: Some(runtime), down: Some(down) };
    let mut facts = follow(local(&settings()), origins, stop, &mut tasks);
    assert!(!facts.borrow().seen);

    view.send_replace(Some(Arc::new(seen())));
    let now = facts.wait_for(|facts| facts.seen).await.expect("a task that runs").clone();
    assert_eq!((now.labels["zone"].as_str(), now.taints.len()), ("a", 1));
    assert_eq!(now.allocatable["cpu"].milli_value(), 1500);

    pressure.send_replace(Pressures { disk: true, ..Pressures::default() });
    facts.wait_for(|facts| facts.pressures == [Pressure::Disk].into()).await.expect("a task that runs");
    state.send_modify(|state| state.supplemental_groups_policy = true);
    facts.wait_for(|facts| facts.supplemental_groups_policy).await.expect("a task that runs");

    goes_down.send_replace(true);
    facts.wait_for(|facts| facts.shutting_down).await.expect("a task that runs");
    goes_down.send_replace(false);
    facts.wait_for(|facts| !facts.shutting_down).await.expect("a task that runs");

    view.send_replace(None);
    pressure.send_replace(Pressures::default());
    let now = facts.wait_for(|facts| facts.pressures.is_empty()).await.expect("a task that runs");
    assert!(now.seen && now.labels["zone"] == "a");
}
