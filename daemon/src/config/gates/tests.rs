use super::*;

fn settings(pairs: &[(&str, bool)]) -> BTreeMap<String, bool> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

#[test]
fn the_table_is_sorted_so_that_it_can_be_searched() {
    assert!(GATES.is_sorted_by_key(|(name, _)| *name));
    assert!(IN_EFFECT.iter().all(|name| stage(name).is_some()));
}

#[test]
fn unknown_and_locked_gates_are_refused() {
    assert!(problem("NoSuchGate", true).unwrap().contains("NoSuchGate"));
    assert!(problem("SidecarContainers", false).unwrap().contains("locked"));
    assert_eq!(problem("SidecarContainers", true), None);
    assert_eq!(problem("EventedPLEG", true), None);
}

#[test]
fn a_gate_named_itself_wins_over_its_group() {
    let set = settings(&[("AllAlpha", true), ("EventedPLEG", false), ("AllBeta", false)]);
    assert!(!enabled(&set, "EventedPLEG"));
    assert!(enabled(&set, "PodsAPI"));
    assert!(!enabled(&set, "EnvFiles"));
    assert!(enabled(&set, "SidecarContainers"));
    assert!(enabled(&settings(&[]), "EnvFiles"));
    assert!(!enabled(&settings(&[]), "SELinuxMount"));
}

#[test]
fn a_gate_off_its_default_without_effect_is_told() {
    let set =
        settings(&[("EventedPLEG", true), ("EnvFiles", true), ("PreventStaticPodAPIReferences", false)]);
    assert_eq!(without_effect(&set), ["EventedPLEG"]);
}
