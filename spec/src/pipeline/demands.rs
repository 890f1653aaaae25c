//! What the tasks of a pipeline demand of a machine: cores, memory and GPUs.

use std::collections::BTreeMap;

use super::{Container, Dag, Implementation, Located, Pipeline, PipelineFault};
use crate::bundle::demand::Demand;
use crate::bundle::quantity::{self, QuantityError};

impl Pipeline {
    /// Returns what each task demands, as far as it stands in the pipeline: what a placeholder decides is not here, and
    /// tasks that demand nothing are left out.
    ///
    /// # Errors
    /// The first amount that cannot be read, with its position.
    pub fn demands(&self) -> Result<Vec<Demand>, PipelineFault> {
        let mut demands = Vec::new();
        if let Implementation::Dag(dag) = &self.root.implementation {
            self.demands_of(dag, ("", &[]), &mut demands)?;
        }
        Ok(demands)
    }

    /// `within` are the components above. What one of them holds again demands the same.
    fn demands_of(
        &self,
        dag: &Dag,
        (path, within): (&str, &[&str]),
        demands: &mut Vec<Demand>,
    ) -> Result<(), PipelineFault> {
        for (name, task) in &dag.tasks {
            let path = match path {
                "" => name.clone(),
                above => format!("{above}/{name}"),
            };
            let Some(component) = self.component(task.component.as_str()) else {
                continue;
            };
            let name = task.component.as_str();
            if within.contains(&name) {
                continue;
            }
            if let Implementation::Dag(dag) = &component.implementation {
                let within = [within, &[name]].concat();
                self.demands_of(dag, (&path, &within), demands)?;
            } else if let Some(container) = self.container_of(component) {
                let demand = self.demand_of(container, &path)?;
                if demand.cpus.is_some() || demand.memory.is_some() || !demand.gpus.is_empty() {
                    demands.push(demand);
                }
            }
        }
        Ok(())
    }

    /// A request counts before a limit.
    fn demand_of(&self, container: &Container, path: &str) -> Result<Demand, PipelineFault> {
        let resources = &container.resources;
        let cpus = fixed(&resources.cpu_request).or(fixed(&resources.cpu_limit));
        let memory = fixed(&resources.memory_request).or(fixed(&resources.memory_limit));
        let mut gpus = BTreeMap::new();
        if let (Some(kind), Some(number)) = (
            fixed(&resources.accelerator_type),
            fixed(&resources.accelerator_count),
        ) {
            let number = self.read(number, path, quantity::count)?;
            if number > 0 {
                gpus.insert(kind.value.clone(), number);
            }
        }
        let cpus = cpus.map(|text| self.read(text, path, quantity::cores));
        let memory = memory.map(|text| self.read(text, path, quantity::bytes));
        Ok(Demand {
            subject: format!("task {path}"),
            cpus: cpus.transpose()?.map(|cores| cores.as_f64()),
            memory: memory.transpose()?.map(|bytes| bytes.units()),
            gpus,
            ..Demand::default()
        })
    }

    fn read<T>(
        &self,
        text: &Located<String>,
        task: &str,
        reader: fn(&str) -> Result<T, QuantityError>,
    ) -> Result<T, PipelineFault> {
        reader(text.as_str()).map_err(|error| PipelineFault {
            file: self.file.clone(),
            at: text.at,
            task: Some(task.to_owned()),
            problem: error.to_string(),
            remedy: "write it as Kubernetes does".to_owned(),
        })
    }
}

/// A text that no placeholder decides.
fn fixed(text: &Option<Located<String>>) -> Option<&Located<String>> {
    text.as_ref()
        .filter(|text| !text.value.is_empty() && !text.value.contains("{{$"))
}
