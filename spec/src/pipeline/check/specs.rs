//! Declarations: defaults and literals have the type that is declared.

use super::Checker;
use crate::pipeline::types::Component;
use crate::pipeline::value::conform;

pub(super) fn interface(checker: &mut Checker<'_>, scope: &str, component: &Component) {
    let of = if scope.is_empty() {
        "the pipeline".to_owned()
    } else {
        format!("component {scope:?}")
    };
    for (name, spec) in &component.inputs.parameters {
        for literal in &spec.literals {
            if let Err(error) = conform(literal, spec.parameter_type) {
                let problem = format!("literal of input {name:?} of {of}: {error}");
                checker.fault(spec.at, None, problem, "give literals of the declared type");
            }
        }
        let Some(default) = &spec.default else { continue };
        if let Err(error) = conform(default, spec.parameter_type) {
            let problem = format!("default of input {name:?} of {of}: {error}");
            checker.fault(spec.at, None, problem, "give a default of the declared type");
        } else if !spec.allows(default) {
            let problem = format!("default of input {name:?} of {of} is none of its literals");
            checker.fault(spec.at, None, problem, "give one of the literals as default");
        }
    }
}
