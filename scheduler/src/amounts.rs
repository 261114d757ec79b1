//! Amounts of resources as integers, so that a filter over many nodes is a few comparisons.

use std::collections::BTreeMap;

use podspec::{Quantity, ResourceList};

/// So much of each resource. Signed, because a node may be over-committed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amounts {
    /// Thousandths of a processor.
    pub(crate) milli_cpu: i64,
    pub(crate) memory_bytes: i64,
    pub(crate) ephemeral_bytes: i64,
    /// Huge pages and extended resources, in whole units.
    pub(crate) others: BTreeMap<Box<str>, i64>,
}

impl Amounts {
    /// From a list of the API; the number of pods is no amount of a pod and is left out.
    pub(crate) fn of(list: &ResourceList) -> Self {
        let mut amounts = Self::default();
        for (name, quantity) in list {
            match name.as_str() {
                "cpu" => amounts.milli_cpu = quantity.milli_value(),
                "memory" => amounts.memory_bytes = quantity.value(),
                "ephemeral-storage" => amounts.ephemeral_bytes = quantity.value(),
                "pods" => {}
                other => {
                    amounts.others.insert(other.into(), quantity.value());
                }
            }
        }
        amounts
    }

    pub(crate) fn add(&mut self, more: &Self) {
        self.combine(more, i64::saturating_add);
    }

    pub(crate) fn subtract(&mut self, less: &Self) {
        self.combine(less, i64::saturating_sub);
        self.others.retain(|_, amount| *amount != 0);
    }

    fn combine(&mut self, other: &Self, with: fn(i64, i64) -> i64) {
        self.milli_cpu = with(self.milli_cpu, other.milli_cpu);
        self.memory_bytes = with(self.memory_bytes, other.memory_bytes);
        self.ephemeral_bytes = with(self.ephemeral_bytes, other.ephemeral_bytes);
        for (name, amount) in &other.others {
            let sum = self.others.entry(name.clone()).or_default();
            *sum = with(*sum, *amount);
        }
    }
}

/// A list of the API with every quantity parsed; what cannot be parsed counts as nothing, the API lets no such thing in.
pub(crate) fn parsed(
    api: Option<&BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>>,
) -> ResourceList {
    let quantity = |text: &str| text.parse::<Quantity>().ok();
    api.into_iter().flatten().filter_map(|(name, q)| Some((name.clone(), quantity(&q.0)?))).collect()
}
