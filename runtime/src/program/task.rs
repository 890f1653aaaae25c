//! Runs one task: a container or a DAG, again and again as its retry policy says.

use std::time::{Duration, SystemTime};

use samebundle_spec::pipeline::{Component, Implementation, Retry, Task};
use samebundle_spec::record::RunStatus;

use super::Engine;
use super::artifact::{TaskEnd, Values};
use crate::event::Event;

impl Engine<'_> {
    /// Runs a task to its end. `path` is its name with its parents'.
    pub(super) async fn task(
        &self,
        path: String,
        task: &Task,
        component: &Component,
        inputs: Values,
    ) -> TaskEnd {
        let began = self.context.clock.now();
        self.records().task(&path).inputs = inputs.to_records();
        let mut attempt = 1;
        let end = loop {
            self.records().begin(&path, self.context.clock.now());
            self.context.events.emit(Event::TaskStarted {
                task: path.clone(),
                attempt,
            });
            let last = attempt > task.retry.as_ref().map_or(0, |retry| retry.retries);
            let end = self
                .attempt(&path, component, inputs.clone(), attempt, last)
                .await;
            let again = end == TaskEnd::Failed && !last && !self.halt.is_cancelled();
            let Some(retry) = task.retry.as_ref().filter(|_| again) else {
                break end;
            };
            self.context.events.emit(Event::Notice {
                text: format!("task {path} failed in attempt {attempt} and is tried again"),
            });
            tokio::select! {
                () = tokio::time::sleep(wait(retry, attempt)) => {}
                () = self.halt.cancelled() => break TaskEnd::Cancelled,
            }
            attempt += 1;
        };
        if let TaskEnd::Done(produced) = &end {
            self.records().task(&path).outputs = produced.to_records();
        }
        let status = match &end {
            TaskEnd::Done(_) => RunStatus::Succeeded,
            TaskEnd::Failed => RunStatus::Failed,
            TaskEnd::Cancelled => RunStatus::Cancelled,
            TaskEnd::Skipped => RunStatus::Skipped,
        };
        self.finished(&path, status, began);
        end
    }

    /// One try. Why it failed is noted only if it is the last one.
    async fn attempt(
        &self,
        path: &str,
        component: &Component,
        inputs: Values,
        attempt: u32,
        last: bool,
    ) -> TaskEnd {
        match &component.implementation {
            Implementation::Dag(dag) => self.dag(component, dag, path, inputs).await,
            Implementation::Executor(_) => match self.container(path, component, &inputs, attempt).await {
                Ok(end) => end,
                Err(failure) => {
                    if last {
                        self.records().fail(failure.to_string());
                    }
                    TaskEnd::Failed
                }
            },
        }
    }

    /// Notes that a task ended.
    pub(super) fn finished(&self, path: &str, status: RunStatus, began: SystemTime) {
        let now = self.context.clock.now();
        self.records().end(path, status, now);
        self.context.events.emit(Event::TaskFinished {
            task: path.to_owned(),
            status: status.word().to_owned(),
            took: now.duration_since(began).unwrap_or_default(),
        });
    }
}

/// How long to wait after an attempt that failed.
fn wait(retry: &Retry, attempt: u32) -> Duration {
    let power = i32::try_from(attempt).unwrap_or(i32::MAX).saturating_sub(1);
    let seconds = (retry.backoff * retry.factor.powi(power)).min(retry.longest);
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_longest() {
        let retry = Retry {
            retries: 9,
            backoff: 1.5,
            factor: 2.0,
            longest: 10.0,
        };
        let waits: Vec<f64> = (1..6)
            .map(|attempt| wait(&retry, attempt).as_secs_f64())
            .collect();
        assert_eq!(waits, [1.5, 3.0, 6.0, 10.0, 10.0]);
    }
}
