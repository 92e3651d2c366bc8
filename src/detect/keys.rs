//! The keys of an event, and what a condition looks at.

use smallvec::SmallVec;

use crate::event::{FieldId, Key, KeyBuilder, Projected, Val};
use crate::limits::KEYS_PER_EVENT_MAX;
use crate::rules::plan::{Atom, Cond, Expr, KeyField, Plan};

/// Gives each key that an event has under these fields: every combination of their values, arrays giving each distinct element
/// (nulls dropped; none left is null), up to [`KEYS_PER_EVENT_MAX`]. A null in a field that is not optional gives no key.
pub fn keys_of(
    event: &Projected,
    fields: &[KeyField],
    dimension_hash: u64,
    builder: &mut KeyBuilder,
    file: &mut dyn FnMut(Key),
) {
    builder.clear();
    let mut left = KEYS_PER_EVENT_MAX;
    combine(event, fields, dimension_hash, builder, &mut left, file);
}

/// Up to `left` of them.
fn combine(
    event: &Projected,
    fields: &[KeyField],
    dimension_hash: u64,
    builder: &mut KeyBuilder,
    left: &mut usize,
    file: &mut dyn FnMut(Key),
) {
    let Some((field, rest)) = fields.split_first() else {
        if *left > 0 {
            *left -= 1;
            file(builder.build(dimension_hash));
        }
        return;
    };
    let mark = builder.len();
    let mut with = |value: Val<'_>, builder: &mut KeyBuilder, left: &mut usize| {
        builder.push(value);
        combine(event, rest, dimension_hash, builder, left, file);
        builder.truncate(mark);
    };
    match event.get(field.field) {
        Val::Array(array) => {
            // A repeated element gives no further key: it must neither take a place under the limit nor be combined again.
            let mut distinct: SmallVec<[Key; 4]> = SmallVec::new();
            for value in array.iter().filter(|value| !value.is_null()) {
                if *left == 0 || distinct.len() == KEYS_PER_EVENT_MAX {
                    return;
                }
                builder.push(value);
                let so_far = builder.build(dimension_hash);
                builder.truncate(mark);
                if !distinct.contains(&so_far) {
                    distinct.push(so_far);
                    with(value, builder, left);
                }
            }
            if distinct.is_empty() && field.optional {
                with(Val::Null, builder, left);
            }
        }
        value if value.is_null() && !field.optional => {}
        value => with(value, builder, left),
    }
}

/// The fields that decide a condition of the plan, ascending.
pub fn fields_of(plan: &Plan, condition: &Cond) -> Vec<FieldId> {
    let mut fields = Vec::new();
    of_condition(plan, condition, &mut fields);
    fields.sort_unstable();
    fields.dedup();
    fields
}

fn of_condition(plan: &Plan, condition: &Cond, fields: &mut Vec<FieldId>) {
    match condition {
        Cond::Const(_) => {}
        Cond::Atom(atom) => match plan.atoms.get(atom.0 as usize) {
            Some(Atom::Field { field, .. }) => fields.push(*field),
            Some(Atom::Expr(expression)) => of_expression(expression, fields),
            None => {}
        },
        Cond::And(parts) | Cond::Or(parts) => parts.iter().for_each(|part| of_condition(plan, part, fields)),
        Cond::Not(inner) => of_condition(plan, inner, fields),
    }
}

fn of_expression(expression: &Expr, fields: &mut Vec<FieldId>) {
    match expression {
        Expr::Literal(_) => {}
        Expr::Field { field, .. } => fields.push(*field),
        Expr::Neg(inner) | Expr::Not(inner) | Expr::Test { value: inner, .. } => of_expression(inner, fields),
        Expr::Arithmetic { left, right, .. } | Expr::Equals { left, right, .. } | Expr::Compare { left, right, .. } => {
            of_expression(left, fields);
            of_expression(right, fields);
        }
        Expr::Call { arguments: parts, .. } | Expr::And(parts) | Expr::Or(parts) => {
            parts.iter().for_each(|part| of_expression(part, fields));
        }
    }
}
