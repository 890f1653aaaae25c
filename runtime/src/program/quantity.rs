//! What a pipeline's tasks ask for: cores, bytes and devices.

use std::collections::BTreeMap;

use samebundle_spec::bundle::quantity::Quantity;
use samebundle_spec::pipeline::{Container, Dag, Implementation, Located, Pipeline};

/// A text is no quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {of}; write it as Kubernetes does, e.g. {example}")]
pub struct QuantityError {
    text: String,
    of: &'static str,
    example: &'static str,
}

/// Reads a number of cores.
///
/// # Errors
/// If it is not a quantity above zero.
pub fn cores(text: &str) -> Result<f64, QuantityError> {
    quantity(text)
        .map(|quantity| quantity.as_f64())
        .filter(|cores| *cores > 0.0)
        .ok_or_else(|| QuantityError {
            text: text.to_owned(),
            of: "number of cores",
            example: "500m or 2",
        })
}

/// Reads a number of bytes.
///
/// # Errors
/// If it is not a quantity above zero.
pub fn bytes(text: &str) -> Result<u64, QuantityError> {
    quantity(text)
        .map(|quantity| quantity.units())
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| QuantityError {
            text: text.to_owned(),
            of: "amount of memory",
            example: "512Mi or 2G",
        })
}

/// Reads a whole number of devices.
pub(super) fn count(text: &str) -> Result<u64, QuantityError> {
    let whole = quantity(text).filter(|count| count.thousandths() % 1000 == 0);
    whole.map(|count| count.units()).ok_or_else(|| QuantityError {
        text: text.to_owned(),
        of: "number of devices",
        example: "1",
    })
}

fn quantity(text: &str) -> Option<Quantity> {
    text.trim().parse().ok()
}

/// What a task asks for, as far as it stands in the pipeline. What a placeholder decides is not here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Need {
    /// Path of the task.
    pub task: String,
    /// Cores: the request, or the limit if there is none.
    pub cpus: Option<f64>,
    /// Memory, bytes: the request, or the limit if there is none.
    pub memory: Option<u64>,
    /// Accelerators by resource name, e.g. `nvidia.com/gpu`.
    pub accelerators: BTreeMap<String, u64>,
}

/// Returns what each task of a checked pipeline asks for; tasks that ask for nothing are left out.
///
/// # Errors
/// If a quantity cannot be read, with the task's path.
pub fn needs(pipeline: &Pipeline) -> Result<Vec<Need>, (String, QuantityError)> {
    let mut needs = Vec::new();
    if let Implementation::Dag(dag) = &pipeline.root.implementation {
        walk(pipeline, dag, "", &mut needs)?;
    }
    Ok(needs)
}

fn walk(
    pipeline: &Pipeline,
    dag: &Dag,
    path: &str,
    needs: &mut Vec<Need>,
) -> Result<(), (String, QuantityError)> {
    for (name, task) in &dag.tasks {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}/{name}")
        };
        let Some(component) = pipeline.component(task.component.as_str()) else {
            continue;
        };
        if let Implementation::Dag(dag) = &component.implementation {
            walk(pipeline, dag, &path, needs)?;
        } else if let Some(container) = pipeline.container_of(component) {
            let need = need(container, &path).map_err(|error| (path, error))?;
            if need.cpus.is_some() || need.memory.is_some() || !need.accelerators.is_empty() {
                needs.push(need);
            }
        }
    }
    Ok(())
}

fn need(container: &Container, path: &str) -> Result<Need, QuantityError> {
    let resources = &container.resources;
    let fixed = |text: &Option<Located<String>>| {
        text.as_ref()
            .map(|text| text.value.clone())
            .filter(|text| !text.is_empty() && !text.contains("{{$"))
    };
    let cpus = fixed(&resources.cpu_request).or(fixed(&resources.cpu_limit));
    let memory = fixed(&resources.memory_request).or(fixed(&resources.memory_limit));
    let mut accelerators = BTreeMap::new();
    if let (Some(kind), Some(number)) = (
        fixed(&resources.accelerator_type),
        fixed(&resources.accelerator_count),
    ) {
        let number = count(&number)?;
        if number > 0 {
            accelerators.insert(kind, number);
        }
    }
    Ok(Need {
        task: path.to_owned(),
        cpus: cpus.map(|text| cores(&text)).transpose()?,
        memory: memory.map(|text| bytes(&text)).transpose()?,
        accelerators,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_as_kubernetes_writes_them() {
        assert_eq!(cores("4000m"), Ok(4.0));
        assert_eq!(cores("0.5"), Ok(0.5));
        assert_eq!(bytes("15G"), Ok(15_000_000_000));
        assert_eq!(bytes("1.5Gi"), Ok(1_610_612_736));
        assert_eq!(bytes("1e3"), Ok(1_000));
        assert_eq!(bytes("2E"), Ok(2_000_000_000_000_000_000));
        assert_eq!(bytes("128974848"), Ok(128_974_848));
        for wrong in ["", "x", "-1", "1 G", "1GB", "inf", "NaN", "0", "1e99", "Gi"] {
            assert!(bytes(wrong).is_err() && cores(wrong).is_err(), "{wrong}");
        }
    }
}
