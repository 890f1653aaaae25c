//! Runs one task, a container or a DAG, as often as its retry policy says.

use std::collections::BTreeMap;
use std::time::Duration;

use samebundle_spec::pipeline::{Component, ExecutorKind, Implementation, Iteration, Retry, Task};
use samebundle_spec::record::{OutputRecord, RunEventKind, RunStatus, TakenFrom, TaskFinished, TaskStarted};
use samebundle_spec::{Digest, Timestamp};

use super::Execution;
use super::artifact::{TaskEnd, Values};
use super::dag::failed;
use super::iterate::items;

/// How an attempt ended, with the exit code of its container.
struct Attempt {
    end: TaskEnd,
    exit_code: Option<i32>,
    /// The artifacts that it left although it failed.
    left: Values,
    /// The digest of all that it may depend on.
    key: Option<Digest>,
    /// The task whose result was taken over.
    taken_from: Option<TakenFrom>,
}

impl Attempt {
    fn without_container(end: TaskEnd) -> Self {
        Self {
            end,
            exit_code: None,
            left: Values::default(),
            key: None,
            taken_from: None,
        }
    }
}

/// An attempt that began, and the time at which the first attempt of its task began.
struct Begun<'a> {
    task: &'a str,
    attempt: u32,
    first: Timestamp,
}

/// What is known of an attempt when it begins.
#[derive(Clone, Copy)]
struct Begins {
    attempt: u32,
    /// How many items it has, if it is a loop.
    items: Option<u64>,
    /// How many attempts there are at most.
    tries: Option<u32>,
}

impl Begins {
    fn attempt(attempt: u32) -> Self {
        Self {
            attempt,
            items: None,
            tries: None,
        }
    }
}

/// How many items a loop has; none if its list is no list, which the loop itself says.
fn items_of(iteration: &Iteration, inputs: &Values) -> Option<u64> {
    let items = items(iteration, inputs).ok()?;
    u64::try_from(items.len()).ok()
}

impl Execution<'_> {
    /// Runs a task to its end. `path` is its name after those of its parents. A loop is retried item by item.
    pub(super) async fn task(
        &self,
        path: String,
        task: &Task,
        component: &Component,
        inputs: Values,
    ) -> TaskEnd {
        let Some(iteration) = &task.iterator else {
            let recorded = inputs.to_records();
            return self.attempts(path, task, component, inputs, recorded).await;
        };
        let begins = Begins {
            items: items_of(iteration, &inputs),
            ..Begins::attempt(1)
        };
        let first = self.started(&path, begins, component, inputs.to_records());
        let end = self.iterate(&path, (component, iteration), task, inputs).await;
        let begun = Begun {
            task: &path,
            attempt: 1,
            first,
        };
        if end != TaskEnd::Suspended {
            self.finished(&begun, &Attempt::without_container(end.clone()), false);
        }
        end
    }

    /// Runs a component until it succeeds or may not be tried again, unless this was done before. `recorded` are the inputs
    /// that the record has.
    pub(super) async fn attempts(
        &self,
        path: String,
        task: &Task,
        component: &Component,
        inputs: Values,
        recorded: BTreeMap<String, OutputRecord>,
    ) -> TaskEnd {
        if let Some(end) = self.ended_before(&path, component).await {
            return end;
        }
        let key = self.cache_key(&path, task, component, &inputs);
        if let Some(key) = key
            && let Some((from, values)) = self.taken_over(&path, task, component, key).await
        {
            let attempt = Attempt {
                key: Some(key),
                taken_from: Some(from),
                ..Attempt::without_container(TaskEnd::Done(values))
            };
            return self.took_over(&path, task, component, (recorded, attempt)).await;
        }
        let end = self
            .tries(&path, task.retry.as_ref(), component, (inputs, recorded, key))
            .await;
        if let (Some(key), TaskEnd::Done(values)) = (key, &end)
            && task.caching.enabled
            && !self.log.hides(&values.to_records())
        {
            self.offer(&path, key).await;
        }
        end
    }

    /// Records a result that was taken over.
    async fn took_over(
        &self,
        path: &str,
        task: &Task,
        component: &Component,
        (recorded, attempt): (BTreeMap<String, OutputRecord>, Attempt),
    ) -> TaskEnd {
        let begun = Begun {
            task: path,
            attempt: 0,
            first: self.started(path, Begins::attempt(0), component, recorded),
        };
        self.finished(&begun, &attempt, false);
        // What a person named for this run is not for later ones.
        let named = self.plan.reuse.of.as_ref();
        let of_named = attempt
            .taken_from
            .as_ref()
            .is_some_and(|from| named == Some(&from.run));
        if let Some(key) = attempt.key.filter(|_| task.caching.enabled && !of_named) {
            self.offer(path, key).await;
        }
        attempt.end
    }

    /// Returns how a container of this run ended before its process was killed, if its outputs are still what they were.
    pub(super) async fn ended_before(&self, path: &str, component: &Component) -> Option<TaskEnd> {
        let executor = self.plan.pipeline.executor_of(component)?;
        let end = self.resumed().past(path)?.end?;
        match end.status {
            RunStatus::Failed => Some(TaskEnd::Failed { message: end.message }),
            RunStatus::Succeeded => {
                let wrote = end.taken_from.is_none() && matches!(executor.kind, ExecutorKind::Container(_));
                let values = match wrote {
                    true => self.outputs_again(path, component).await?,
                    false => self.kept(path, component, &end).await?,
                };
                self.volume_again(component, &values);
                let same = self.log.shown(values.to_records()) == end.outputs;
                same.then_some(TaskEnd::Done(values))
            }
            _ => None,
        }
    }

    /// Runs a component until it succeeds or may not be tried again.
    async fn tries(
        &self,
        path: &str,
        retry: Option<&Retry>,
        component: &Component,
        (inputs, recorded, key): (Values, BTreeMap<String, OutputRecord>, Option<Digest>),
    ) -> TaskEnd {
        let past = self.resumed().past(path);
        let asks = self.plan.pipeline.question_of(component).is_some();
        // What a person rejected is not asked again.
        let retry = retry.filter(|_| !asks);
        let goes_on = asks || matches!(component.implementation, Implementation::Dag(_));
        let mut first = None;
        let mut failures = past.as_ref().map_or(0, |past| past.failures);
        let mut number = past.map_or(1, |past| past.next(goes_on));
        loop {
            let begins = Begins {
                tries: retry.map(|retry| retry.retries.saturating_add(1)),
                ..Begins::attempt(number)
            };
            let began = self.started(path, begins, component, recorded.clone());
            let begun = Begun {
                task: path,
                attempt: number,
                first: *first.get_or_insert(began),
            };
            let mut attempt = self.attempt(path, component, inputs.clone(), number).await;
            attempt.key = key;
            if attempt.end == TaskEnd::Suspended {
                return attempt.end;
            }
            let failed = matches!(attempt.end, TaskEnd::Failed { .. });
            failures += 1;
            let retry = retry.filter(|retry| failures <= retry.retries);
            let Some(retry) = retry.filter(|_| failed && !self.halt.is_cancelled()) else {
                self.finished(&begun, &attempt, false);
                return attempt.end;
            };
            self.finished(&begun, &attempt, true);
            tokio::select! {
                () = tokio::time::sleep(wait(retry, failures)) => {}
                () = self.halt.cancelled() => {
                    let cancelled = Attempt { end: TaskEnd::Cancelled, ..attempt };
                    self.finished(&begun, &cancelled, false);
                    return cancelled.end;
                }
            }
            number += 1;
        }
    }

    /// Makes one attempt.
    async fn attempt(&self, path: &str, component: &Component, inputs: Values, number: u32) -> Attempt {
        match &component.implementation {
            Implementation::Dag(dag) => {
                Attempt::without_container(self.dag(component, dag, path, inputs).await)
            }
            Implementation::Executor(_) if let Some(question) = self.plan.pipeline.question_of(component) => {
                let end = self.ask((path, number), component, question, &inputs);
                Attempt::without_container(end.unwrap_or_else(|error| failed(path, &error)))
            }
            Implementation::Executor(_) => match self.container(path, component, &inputs, number).await {
                Ok(end) => Attempt {
                    exit_code: matches!(end, TaskEnd::Done(_)).then_some(0),
                    ..Attempt::without_container(end)
                },
                Err(failure) => Attempt {
                    exit_code: failure.exit_code,
                    left: failure.left.clone(),
                    ..Attempt::without_container(TaskEnd::Failed {
                        message: Some(failure.to_string()),
                    })
                },
            },
        }
    }

    /// A task whose inputs cannot be made ends before its container begins.
    pub(super) fn unbound(&self, path: &str, component: &Component, end: TaskEnd) -> TaskEnd {
        let begun = Begun {
            task: path,
            attempt: 1,
            first: self.started(path, Begins::attempt(1), component, BTreeMap::new()),
        };
        let attempt = Attempt::without_container(end);
        self.finished(&begun, &attempt, false);
        attempt.end
    }

    /// Tells why the first task failed among one and those in it.
    pub(super) fn why_failed(&self, path: &str) -> String {
        let within = |name: &str| {
            let rest = name.strip_prefix(path);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.log.look(|run| {
            let mut messages = run.tasks.iter().filter(|task| within(&task.name));
            messages.find_map(|task| task.message.clone()).unwrap_or_default()
        })
    }

    fn started(
        &self,
        path: &str,
        begins: Begins,
        component: &Component,
        inputs: BTreeMap<String, OutputRecord>,
    ) -> Timestamp {
        let attempt = begins.attempt;
        let past = self.resumed().past(path);
        let first = past.as_ref().and_then(|past| past.started);
        if let (Some(past), Some(first)) = (past, first)
            && attempt <= past.attempts
        {
            // The log has it, and it goes on.
            return first;
        }
        self.resumed().begins_anew(path);
        let began = self.log.append(RunEventKind::TaskStarted(TaskStarted {
            task: path.to_owned(),
            attempt,
            image: self.image_digest(component, &inputs, path),
            items: begins.items,
            tries: begins.tries.filter(|tries| *tries > 1),
            inputs,
        }));
        first.unwrap_or(began)
    }

    fn image_digest(
        &self,
        component: &Component,
        recorded: &BTreeMap<String, OutputRecord>,
        path: &str,
    ) -> Option<Digest> {
        let container = self.plan.pipeline.container_of(component)?;
        let parameter = |(name, record): (&String, &OutputRecord)| match record {
            OutputRecord::Value(value) => Some((name.clone(), value.clone())),
            OutputRecord::Artifacts(_) => None,
        };
        let inputs = Values {
            parameters: recorded.iter().filter_map(parameter).collect(),
            ..Values::default()
        };
        Some(self.image(container, &inputs, path).ok()?.digest)
    }

    fn finished(&self, begun: &Begun<'_>, attempt: &Attempt, will_retry: bool) {
        let (status, message, outputs) = match &attempt.end {
            TaskEnd::Done(produced) => (RunStatus::Succeeded, None, produced.to_records()),
            TaskEnd::Failed { message } => {
                // The next attempt begins with empty folders.
                let left = if will_retry {
                    BTreeMap::new()
                } else {
                    attempt.left.to_records()
                };
                (RunStatus::Failed, message.clone(), left)
            }
            TaskEnd::Cancelled => (RunStatus::Cancelled, None, BTreeMap::new()),
            TaskEnd::Skipped => (RunStatus::Skipped, None, BTreeMap::new()),
            TaskEnd::Suspended => (RunStatus::Suspended, None, BTreeMap::new()),
        };
        let done = status == RunStatus::Succeeded;
        let key = attempt.key.filter(|_| done && !self.log.hides(&outputs));
        self.append_end(TaskFinished {
            task: begun.task.to_owned(),
            attempt: begun.attempt,
            status,
            started: Some(begun.first),
            exit_code: attempt.exit_code,
            will_retry,
            message,
            outputs,
            cache_key: key,
            taken_from: attempt.taken_from.clone(),
        });
    }

    /// Appends the end of an attempt or of a task, unless the log of a run that goes on has this end already.
    pub(super) fn append_end(&self, mut end: TaskFinished) {
        end.outputs = self.log.shown(end.outputs);
        if self.resumed().has(&end) {
            return;
        }
        self.log.append(RunEventKind::TaskFinished(end));
    }
}

/// Returns how long to wait after an attempt that failed.
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
