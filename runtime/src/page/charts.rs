//! Charts of what was measured: numbers as bars, confusion matrices as heat maps, ROC curves over each other.

use std::fmt::Write;

use maud::{Markup, html};
use samebundle_spec::limits;
use samebundle_spec::record::{Classification, ConfusionMatrix, Metrics, RocPoint};

use super::text;

/// How many colours the style sheet has for curves; the next ones are dashed, and then dotted.
const COLOURS: usize = 6;
/// How much of a cell's colour the largest share has, per cent: text stays readable on it.
const HEAT: f64 = 60.0;
/// Width and height of the area of a ROC curve, and of the place beside it for what the axes say, in units of the drawing.
const SIDE: f64 = 260.0;
const MARGIN: f64 = 44.0;

/// A chart of one thing that was measured; nothing for numbers, which are a line of text.
pub(super) fn chart(metrics: &Metrics) -> Option<Markup> {
    match metrics {
        Metrics::Scalars(_) => None,
        Metrics::Classification(one) => Some(classification(one)),
        Metrics::Slices(slices) => Some(html! {
            @for (name, one) in slices.iter().take(limits::PAGE_SLICES) {
                h4 { "Slice " (name) }
                (classification(one))
            }
            (more(slices.len(), limits::PAGE_SLICES, "slices"))
        }),
    }
}

/// Says how many things were left out, if any were.
pub(super) fn more(count: usize, shown: usize, what: &str) -> Markup {
    html! {
        @if count > shown { p.muted.small { (count - shown) " more " (what) } }
    }
}

fn classification(one: &Classification) -> Markup {
    html! {
        div.row {
            @if let Some(matrix) = &one.confusion { (confusion(matrix, None)) }
            @if !one.roc.is_empty() { (roc(&[(String::new(), one)])) }
        }
    }
}

/// A confusion matrix: each cell has its count, and the colour of its share of the row.
pub(super) fn confusion(matrix: &ConfusionMatrix, of: Option<&str>) -> Markup {
    let count = matrix.labels.len().min(limits::PAGE_CLASSES);
    let labels = &matrix.labels[..count];
    let total: f64 = matrix.rows.iter().flatten().sum();
    let right: f64 = (0..matrix.rows.len()).map(|at| matrix.rows[at][at]).sum();
    html! {
        figure {
            div.scroll tabindex="0" role="region" aria-label="Confusion matrix" {
                table.matrix {
                    thead {
                        tr { th scope="col" { "actual" } th colspan=(count) { "predicted" } }
                        tr { td {} @for label in labels { th scope="col" title=(label) { (label) } } }
                    }
                    tbody {
                        @for (label, row) in labels.iter().zip(&matrix.rows) {
                            @let sum: f64 = row.iter().sum();
                            tr {
                                th scope="row" title=(label) { (label) }
                                @for cell in &row[..count] {
                                    @let share = if sum > 0.0 { (cell / sum).clamp(0.0, 1.0) } else { 0.0 };
                                    td style=(format!("--h:{:.0}%", share * HEAT)) { (text::number(*cell)) }
                                }
                            }
                        }
                    }
                }
            }
            figcaption.small {
                @if let Some(of) = of { strong { (of) } ": " }
                "Confusion matrix; the colour is the share of the row."
                @if total > 0.0 { " On the diagonal: " (text::number(right)) " of " (text::number(total)) "." }
                @if count < matrix.labels.len() { " " (matrix.labels.len() - count) " more classes are not shown." }
            }
        }
    }
}

/// ROC curves over each other, each with its name and the area under it.
pub(super) fn roc(curves: &[(String, &Classification)]) -> Markup {
    let at = |rate: f64| MARGIN + rate * SIDE;
    let up = |rate: f64| MARGIN / 2.0 + (1.0 - rate) * SIDE;
    let (width, height) = (SIDE + MARGIN * 1.5, SIDE + MARGIN * 1.5);
    html! {
        figure {
            svg.roc viewBox=(format!("0 0 {width} {height}")) width=(width) height=(height) role="img" aria-label=(told(curves)) {
                @for step in 0..=4 {
                    @let rate = f64::from(step) / 4.0;
                    line.grid x1=(at(0.0)) y1=(up(rate)) x2=(at(1.0)) y2=(up(rate)) {}
                    line.grid x1=(at(rate)) y1=(up(0.0)) x2=(at(rate)) y2=(up(1.0)) {}
                    text.dim x=(at(0.0) - 6.0) y=(up(rate) + 4.0) text-anchor="end" { (text::number(rate)) }
                    text.dim x=(at(rate)) y=(up(0.0) + 16.0) text-anchor="middle" { (text::number(rate)) }
                }
                line.chance x1=(at(0.0)) y1=(up(0.0)) x2=(at(1.0)) y2=(up(1.0)) {}
                text.dim x=(at(0.5)) y=(height - 4.0) text-anchor="middle" { "false positive rate" }
                text.dim transform=(format!("translate(11 {}) rotate(-90)", up(0.5))) text-anchor="middle" { "true positive rate" }
                @for (number, (_, curve)) in curves.iter().enumerate() {
                    path class=(colour(number)) d=(path(&curve.roc, at, up)) {}
                }
            }
            ul.legend {
                @for (number, (name, curve)) in curves.iter().enumerate() {
                    li {
                        span class=(format!("key {}", colour(number))) {}
                        span { @if !name.is_empty() { (name) ": " } (area(curve)) }
                    }
                }
            }
        }
    }
}

fn area(curve: &Classification) -> String {
    match curve.area_under_curve() {
        Some(area) => format!("ROC curve, area under it {area:.4}"),
        None => "ROC curve".to_owned(),
    }
}

fn told(curves: &[(String, &Classification)]) -> String {
    let told = curves.iter().map(|(name, curve)| match name.as_str() {
        "" => area(curve),
        name => format!("{name}: {}", area(curve)),
    });
    told.collect::<Vec<_>>().join("; ")
}

/// The classes of a curve's colour and dashes.
fn colour(number: usize) -> String {
    let (colour, dash) = (number % COLOURS, number / COLOURS % 3);
    format!("c{colour} d{dash}")
}

fn path(points: &[RocPoint], at: impl Fn(f64) -> f64, up: impl Fn(f64) -> f64) -> String {
    let mut points: Vec<(f64, f64)> = points
        .iter()
        .map(|point| (point.false_positive_rate, point.true_positive_rate))
        .filter(|(across, along)| (0.0..=1.0).contains(across) && (0.0..=1.0).contains(along))
        .collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let every = points.len().div_ceil(limits::PAGE_CURVE_POINTS).max(1);
    let last = points.len().saturating_sub(1);
    let mut path = String::new();
    for (number, (across, along)) in points.iter().enumerate() {
        if number % every != 0 && number != last {
            continue;
        }
        let verb = if path.is_empty() { 'M' } else { 'L' };
        let _ = write!(path, "{verb}{:.1} {:.1}", at(*across), up(*along));
    }
    path
}

/// A bar of a share from 0 to 1.
pub(super) fn bar(share: f64) -> Markup {
    html! {
        span.bar aria-hidden="true" { i style=(format!("--w:{:.1}%", share.clamp(0.0, 1.0) * 100.0)) {} }
    }
}
