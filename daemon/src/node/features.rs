//! What this node declares to carry out (behaviour.md 32.13): scheduler and API server send pods by it, so nothing else
//! may be in the list.

use std::collections::BTreeSet;

use crate::config::Config;

/// The names; `None` where the gate `NodeDeclaredFeatures` is off.
pub(crate) fn declared(config: &Config) -> Option<BTreeSet<String>> {
    let restarts_all =
        config.gate("ContainerRestartRules") && config.gate("RestartAllContainersOnContainerExits");
    let names = [("RestartAllContainersOnContainerExits", restarts_all)];
    config
        .gate("NodeDeclaredFeatures")
        .then(|| names.into_iter().filter(|(_, on)| *on).map(|(name, _)| name.to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_is_declared_only_while_all_its_gates_are_on() {
        let with = |gates: &[&str]| {
            let feature_gates = gates.iter().map(|gate| ((*gate).to_owned(), false)).collect();
            declared(&Config { feature_gates, ..Config::default() })
        };
        let restarts_all = "RestartAllContainersOnContainerExits".to_owned();
        assert_eq!(with(&[]), Some([restarts_all].into()));
        assert_eq!(with(&["ContainerRestartRules"]), Some(BTreeSet::new()));
        assert_eq!(with(&["RestartAllContainersOnContainerExits"]), Some(BTreeSet::new()));
        assert_eq!(with(&["NodeDeclaredFeatures"]), None);
    }
}
