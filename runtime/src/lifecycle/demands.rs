//! What a program demands of a machine: its bundle's `requires`, and the limits of its tasks.

use samebundle_spec::bundle::program::{Requirements, Resources};
use samebundle_spec::bundle::quantity::Quantity;

use super::LifecycleError;
use crate::opened::Program;
use crate::plan::{Demand, Shortfall};
use crate::program::{self, Need};

/// Returns what a program demands.
///
/// # Errors
/// If a task's limit is no quantity.
pub(crate) fn of_program(program: &Program) -> Result<Vec<Demand>, LifecycleError> {
    let unfit = |(task, error): (String, program::QuantityError)| LifecycleError::Unfit {
        subject: format!("task {task}"),
        why: error.to_string(),
    };
    let mut demands = vec![of_resources(&program.extension.requires.resources)];
    demands.extend(
        program::needs(&program.pipeline)
            .map_err(unfit)?
            .into_iter()
            .flat_map(of_task),
    );
    Ok(demands)
}

/// One demand a task, and one for each further kind of accelerator.
fn of_task(need: Need) -> Vec<Demand> {
    let subject = format!("task {}", need.task);
    let mut accelerators = need
        .accelerators
        .into_iter()
        .map(|(kind, count)| (kind, u32::try_from(count).unwrap_or(u32::MAX)));
    let first = Demand {
        subject: subject.clone(),
        cpus: need.cpus,
        memory: need.memory,
        gpus: accelerators.next(),
        ..Demand::default()
    };
    let more = accelerators.map(|gpus| Demand {
        subject: subject.clone(),
        gpus: Some(gpus),
        ..Demand::default()
    });
    std::iter::once(first).chain(more).collect()
}

/// Returns the add-ons that no local environment has.
pub(crate) fn missing_addons(requirements: &Requirements) -> Vec<Shortfall> {
    let addon = |wanted: &String| Shortfall::Addon {
        subject: "the bundle".to_owned(),
        wanted: wanted.clone(),
    };
    requirements.addons.iter().map(addon).collect()
}

fn of_resources(resources: &Resources) -> Demand {
    let disk = resources.disk.as_ref();
    Demand {
        subject: "the bundle".to_owned(),
        cpus: resources.cpu.as_ref().map(Quantity::as_f64),
        memory: resources.memory.as_ref().map(Quantity::units),
        gpus: resources
            .gpu
            .as_ref()
            .map(|gpu| (gpu.kind.clone().unwrap_or_else(|| "gpu".to_owned()), gpu.count)),
        disk: disk.and_then(|disk| disk.size.as_ref()).map(Quantity::units),
        disk_class: disk.and_then(|disk| disk.class.clone()),
    }
}
