//! Compares what is demanded with what a driver offers.

use samebundle_spec::bundle::demand::{ANY_GPU, Demand};

use super::Shortfall;
use crate::driver::Offers;

/// Compares demands with what a driver offers and returns all that cannot be had.
pub fn shortfalls(demands: &[Demand], offers: &Offers) -> Vec<Shortfall> {
    demands
        .iter()
        .flat_map(|demand| short_of(demand, offers))
        .collect()
}

fn short_of(demand: &Demand, offers: &Offers) -> Vec<Shortfall> {
    let subject = || demand.subject.clone();
    let cpus = demand
        .cpus
        .filter(|wanted| *wanted > offers.cpus)
        .map(|wanted| Shortfall::Cpus {
            subject: subject(),
            wanted,
            available: offers.cpus,
        });
    let memory = demand
        .memory
        .filter(|wanted| *wanted > offers.memory)
        .map(|wanted| Shortfall::Memory {
            subject: subject(),
            wanted,
            available: offers.memory,
        });
    let gpus = demand.gpus.iter().filter_map(|(kind, wanted)| {
        let available = match kind.as_str() {
            ANY_GPU => offers.gpus.values().sum(),
            kind => offers.gpus.get(kind).copied().unwrap_or(0),
        };
        (*wanted > available).then(|| Shortfall::Gpus {
            subject: subject(),
            kind: kind.clone(),
            wanted: *wanted,
            available,
        })
    });
    let disk = demand
        .disk
        .filter(|wanted| *wanted > offers.disk)
        .map(|wanted| Shortfall::Disk {
            subject: subject(),
            wanted,
            available: offers.disk,
        });
    let class = demand
        .disk_class
        .as_ref()
        .filter(|class| !offers.disk_classes.contains(class))
        .map(|class| Shortfall::DiskClass {
            subject: subject(),
            wanted: class.clone(),
            available: offers.disk_classes.clone(),
        });
    let others = [cpus, memory, disk, class].into_iter().flatten();
    others.chain(gpus).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn machine() -> Offers {
        Offers {
            cpus: 2.0,
            memory: 4 << 30,
            disk: 10 << 30,
            disk_classes: vec!["standard".to_owned()],
            gpus: BTreeMap::from([("nvidia.com/gpu".to_owned(), 1)]),
            network: false,
            containers: 2,
            notices: Vec::new(),
        }
    }

    #[test]
    fn names_everything_that_cannot_be_had_and_nothing_else() {
        let fits = Demand {
            cpus: Some(2.0),
            memory: Some(4 << 30),
            gpus: BTreeMap::from([("gpu".to_owned(), 1)]),
            ..Demand::default()
        };
        assert_eq!(shortfalls(&[fits, Demand::default()], &machine()), Vec::new());
        let demand = Demand {
            subject: "task train".to_owned(),
            cpus: Some(2.5),
            memory: Some(5 << 30),
            gpus: BTreeMap::from([("amd.com/gpu".to_owned(), 1)]),
            disk: Some(11 << 30),
            disk_class: Some("ssd".to_owned()),
        };
        let found = shortfalls(&[demand], &machine());
        assert_eq!(found.len(), 5);
        for shortfall in found {
            let text = shortfall.to_string();
            assert!(text.contains("task train") && text.contains("; "), "{text}");
        }
    }
}
