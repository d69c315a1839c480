//! What the catalogue is asked: which values a field has, and everything that was seen.

use std::cmp::Reverse;

use ahash::AHashMap;
use eye_event::Timestamp;
use eye_store::Columns;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::summary::{Application, FIELD_DEPTH_MAX, FieldSummary, Seen, Type};
use super::{Catalogue, View};
use crate::cancel::Cancel;
use crate::error::{Result, checked_limit};
use crate::field::Field;
use crate::filter::{Filter, allows};
use crate::mask::Chooser;
use crate::source::{Source, SourceSlice};

/// How many values are given unless asked otherwise.
pub const VALUES_LIMIT: usize = 20;
/// How many values may be asked for.
pub const VALUES_LIMIT_MAX: usize = 1_000;
/// How many fields, and how many names, of each application are given unless asked otherwise.
pub const CATALOGUE_LIMIT: usize = 200;
/// How many may be asked for.
pub const CATALOGUE_LIMIT_MAX: usize = 1_000;
/// Examples of a field's values.
pub const CATALOGUE_EXAMPLES: usize = 5;
/// Newest events that are looked at for values that the catalogue does not have.
pub const VALUES_ROWS_MAX: usize = 65_536;
/// Different values that are counted among them; later ones are not seen.
pub const VALUES_SCANNED_MAX: usize = 10_000;

/// Which values.
#[derive(Clone, Debug)]
pub struct ValuesQuery {
    /// Of which events. Anything beyond applications is looked up in the newest events.
    pub filter: Filter,
    /// Of which field.
    pub field: Field,
    /// How they begin, in any case of letters.
    pub prefix: String,
    /// At most so many: 1 to [`VALUES_LIMIT_MAX`].
    pub limit: usize,
}

/// Values of a field, those of most events first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ValuesOut {
    /// The field.
    pub field: String,
    /// Its values.
    pub values: Vec<ValueOut>,
    /// True if there are more.
    pub more: bool,
    /// True if the catalogue has them: then each figure is exact for the events looked at. False: they are those of the
    /// newest events.
    pub from_catalogue: bool,
    /// Events that were looked at, of those that the asker may see.
    pub events: u64,
    /// Events that were not: because they are too many, or not yet read after a start. Null if there are some, for who may
    /// not see all applications: nobody knows whose they are.
    pub events_left: Option<u64>,
    /// The version of the table that the answer saw.
    pub version: u64,
    /// What the answer has seen of the log.
    pub offset: String,
}

/// One value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ValueOut {
    /// The value, as text.
    pub value: String,
    /// Events that have it.
    pub events: u64,
    /// The earliest of them, by its own time.
    #[schema(value_type = String, format = DateTime)]
    pub first_seen: Timestamp,
    /// The latest of them.
    #[schema(value_type = String, format = DateTime)]
    pub last_seen: Timestamp,
}

/// What of the catalogue.
#[derive(Clone, Debug)]
pub struct CatalogueQuery {
    /// The applications that the asker may see; `None` is all of them.
    pub allowed: Option<Vec<String>>,
    /// Only this one.
    pub application: Option<String>,
    /// How fields begin, in any case of letters.
    pub prefix: String,
    /// At most so many fields, and so many names, of each application: 1 to [`CATALOGUE_LIMIT_MAX`].
    pub limit: usize,
}

/// Everything that was seen.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CatalogueOut {
    /// Application by application.
    pub applications: Vec<CatalogueApplicationOut>,
    /// Events that were looked at, of all applications that the asker may see.
    pub events: u64,
    /// Events that were not: because they are too many, or not yet read after a start. Null if there are some, for who may
    /// not see all applications: nobody knows whose they are.
    pub events_left: Option<u64>,
    /// The version of the table that the answer saw.
    pub version: u64,
    /// What the answer has seen of the log.
    pub offset: String,
}

/// What one application sends.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CatalogueApplicationOut {
    /// Its name.
    pub application: String,
    /// Its events.
    pub events: u64,
    /// The earliest of them, by its own time.
    #[schema(value_type = String, format = DateTime)]
    pub first_seen: Timestamp,
    /// The latest of them.
    #[schema(value_type = String, format = DateTime)]
    pub last_seen: Timestamp,
    /// Its categories and names, those of most events first.
    pub names: Vec<CatalogueNameOut>,
    /// Events with names beyond the catalogue's limit.
    pub names_left: u64,
    /// Its fields, those of most events first.
    pub fields: Vec<CatalogueFieldOut>,
    /// Values of fields beyond the catalogue's limit.
    pub fields_left: u64,
}

/// A category and a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CatalogueNameOut {
    /// The category.
    pub category: String,
    /// The name.
    pub name: String,
    /// Events that have both.
    pub events: u64,
    /// The earliest of them, by its own time.
    #[schema(value_type = String, format = DateTime)]
    pub first_seen: Timestamp,
    /// The latest of them.
    #[schema(value_type = String, format = DateTime)]
    pub last_seen: Timestamp,
}

/// A field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CatalogueFieldOut {
    /// As a query line names it.
    pub field: String,
    /// Events that have it.
    pub events: u64,
    /// What its values are.
    pub types: Vec<TypeOut>,
    /// The earliest event that has it, by its own time.
    #[schema(value_type = String, format = DateTime)]
    pub first_seen: Timestamp,
    /// The latest.
    #[schema(value_type = String, format = DateTime)]
    pub last_seen: Timestamp,
    /// How many different values it has; null if they are many, or say who somebody is.
    pub values: Option<u64>,
    /// The most frequent of them.
    pub examples: Vec<String>,
}

/// How many values are of a type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TypeOut {
    /// string, number, boolean, null, array or object.
    pub r#type: String,
    /// Events whose value is of it.
    pub events: u64,
}

impl Catalogue {
    /// The values of a field.
    ///
    /// # Errors
    /// `Invalid` for a limit out of range; `Cancelled`; those of the store.
    pub fn values<S: Source>(&self, source: &S, query: &ValuesQuery, cancel: &Cancel) -> Result<ValuesOut> {
        let limit = checked_limit(query.limit, VALUES_LIMIT_MAX)?;
        let prefix = query.prefix.to_lowercase();
        let known = match is_of_applications(&query.filter) {
            // Just after a start or a flush the newest events tell more than a catalogue that has read less than half.
            true => self.known(source, query, &prefix, cancel)?.filter(|found| found.events >= found.events_left),
            false => None,
        };
        let from_catalogue = known.is_some();
        let found = match known {
            Some(found) => found,
            None => newest(source, query, &prefix, cancel)?,
        };
        let Found { values, events, events_left } = found;
        let mut values: Vec<ValueOut> = values
            .into_iter()
            .map(|(value, Seen { events, first, last })| ValueOut { value, events, first_seen: first, last_seen: last })
            .collect();
        values.sort_unstable_by(|a, b| (Reverse(a.events), &a.value).cmp(&(Reverse(b.events), &b.value)));
        let more = values.len() > limit;
        values.truncate(limit);
        Ok(ValuesOut {
            field: query.field.to_string(),
            values,
            more,
            from_catalogue,
            events,
            events_left: known_left(query.filter.allowed.as_deref(), events_left),
            version: source.version(),
            offset: source.position().to_string(),
        })
    }

    /// The values that the catalogue has of a field; `None` if it does not keep them.
    fn known<S: Source>(
        &self,
        source: &S,
        query: &ValuesQuery,
        prefix: &str,
        cancel: &Cancel,
    ) -> Result<Option<Found>> {
        if matches!(query.field, Field::SessionId | Field::EventId | Field::UserId | Field::AnonymousId) {
            return Ok(None);
        }
        let Some(names) = Names::of(&query.field) else { return Ok(None) };
        let View { summaries, events_left } = self.view(source, cancel)?;
        let (mut events, mut merged) = (0, None::<FieldSummary>);
        let mut applications: AHashMap<String, Seen> = AHashMap::new();
        for summary in &summaries {
            for (application, seen) in &summary.applications {
                let Filter { allowed, application: wanted, .. } = &query.filter;
                if !is_asked(application, allowed.as_deref(), wanted.as_deref()) {
                    continue;
                }
                if query.field != Field::Application && !names.are_whole(seen) {
                    return Ok(None);
                }
                events += seen.seen.events;
                applications.entry(application.to_string()).or_insert(Seen::NONE).merge(&seen.seen);
                match (&mut merged, seen.fields.get(names.field.as_str())) {
                    (_, None) => {}
                    (Some(merged), Some(field)) => merged.merge(field),
                    (merged, Some(field)) => *merged = Some(field.clone()),
                }
            }
        }
        let values: Box<dyn Iterator<Item = (String, Seen)>> = match (&query.field, merged) {
            (Field::Application, _) => Box::new(applications.into_iter()),
            // Every summary had room for it: it was not seen.
            (_, None) => Box::new(std::iter::empty()),
            (_, Some(FieldSummary { values: Some(values), long: 0, .. })) => {
                Box::new(values.into_iter().map(|(value, seen)| (value.into_string(), seen)))
            }
            (_, _) => return Ok(None),
        };
        let values = values.filter(|(value, _)| begins(value, prefix)).collect();
        Ok(Some(Found { values, events, events_left }))
    }

    /// Everything that was seen.
    ///
    /// # Errors
    /// `Invalid` for a limit out of range; `Cancelled`; those of the store.
    pub fn catalogue<S: Source>(&self, source: &S, query: &CatalogueQuery, cancel: &Cancel) -> Result<CatalogueOut> {
        let limit = checked_limit(query.limit, CATALOGUE_LIMIT_MAX)?;
        let View { summaries, events_left } = self.view(source, cancel)?;
        let allowed = query.allowed.as_deref();
        let (mut events, mut merged) = (0, AHashMap::<&str, Application>::new());
        for summary in &summaries {
            cancel.check()?;
            for (name, application) in &summary.applications {
                if allows(allowed, name) {
                    events += application.seen.events;
                }
                if is_asked(name, allowed, query.application.as_deref()) {
                    merged.entry(name.as_ref()).or_insert_with(Application::new).merge(application);
                }
            }
        }
        let prefix = query.prefix.to_lowercase();
        let mut applications: Vec<_> =
            merged.into_iter().map(|(name, application)| application_out(name, application, &prefix, limit)).collect();
        applications.sort_by(|a, b| a.application.cmp(&b.application));
        Ok(CatalogueOut {
            applications,
            events,
            events_left: known_left(allowed, events_left),
            version: source.version(),
            offset: source.position().to_string(),
        })
    }
}

/// What a summary calls a field, and what else it tells of the field's values.
struct Names {
    field: String,
    /// What the fields of objects that are values of it begin with.
    inside: String,
    /// The fields of arrays that its values may lie in.
    around: Vec<String>,
}

impl Names {
    /// `None` for a field that no summary has: one that lies too deep, or that may lie in a payload that is an array.
    fn of(field: &Field) -> Option<Self> {
        let is_place = |key: &String| key.bytes().all(|byte| byte.is_ascii_digit());
        let path = field.path().unwrap_or_default();
        if path.len() > FIELD_DEPTH_MAX || path.first().is_some_and(is_place) {
            return None;
        }
        let outer = |length: usize| match field {
            Field::Context(path) => Field::Context(path[..length].to_vec()).to_string(),
            _ => Field::Data(path[..length].to_vec()).to_string(),
        };
        let around = (1..path.len()).filter(|length| is_place(&path[*length])).map(outer).collect();
        Some(Self { field: field.to_string(), inside: format!("{field}."), around })
    }

    /// True if what the summary has of the field is all that there is: nothing was left out, and no value lies in an array
    /// or is an array or an object.
    fn are_whole(&self, application: &Application) -> bool {
        let Application { fields, fields_left, .. } = application;
        let is_known = |name: &String| *fields_left == 0 || fields.contains_key(name.as_str());
        let has = |name: &String, kind| fields.get(name.as_str()).is_some_and(|known| known.has(kind));
        is_known(&self.field)
            && !has(&self.field, Type::Array)
            && !has(&self.field, Type::Object)
            && !fields.keys().any(|name| name.starts_with(&self.inside))
            && self.around.iter().all(|name| is_known(name) && !has(name, Type::Array))
    }
}

struct Found {
    values: AHashMap<String, Seen>,
    /// Of those that the asker may see.
    events: u64,
    /// Of all.
    events_left: u64,
}

/// True if the filter asks for nothing that a summary does not know.
fn is_of_applications(filter: &Filter) -> bool {
    let Filter { allowed, application, .. } = filter;
    *filter == Filter { allowed: allowed.clone(), application: application.clone(), ..Filter::default() }
}

fn is_asked(application: &str, allowed: Option<&[String]>, wanted: Option<&str>) -> bool {
    allows(allowed, application) && wanted.is_none_or(|wanted| wanted == application)
}

/// How many events were not looked at, as far as the asker may know: whose they are only looking at them would tell.
fn known_left(allowed: Option<&[String]>, events_left: u64) -> Option<u64> {
    (allowed.is_none() || events_left == 0).then_some(events_left)
}

fn begins(value: &str, prefix: &str) -> bool {
    prefix.is_empty() || value.to_lowercase().starts_with(prefix)
}

/// The values of the newest events that match.
fn newest<S: Source>(source: &S, query: &ValuesQuery, prefix: &str, cancel: &Cancel) -> Result<Found> {
    let mut found = Found { values: AHashMap::new(), events: 0, events_left: 0 };
    let filter = &query.filter;
    let mut slices = source.slices(filter.from(), filter.to())?;
    slices.retain(|slice| filter.slice_can_match(slice.timestamps()));
    slices.sort_by_key(|slice| Reverse(slice.timestamps().1));
    let seen_by_asker = Filter { allowed: filter.allowed.clone(), ..Filter::default() };
    let (chooser, wall) = (Chooser::new(filter), Chooser::new(&seen_by_asker));
    let columns = filter.columns() | query.field.column() | Columns::TIMESTAMP;
    let mut rows_read = 0;
    for slice in slices {
        let rows = slice.rows() as u64;
        if rows_read > 0 && rows_read + rows > VALUES_ROWS_MAX as u64 {
            found.events_left += rows;
            continue;
        }
        cancel.check()?;
        rows_read += rows;
        let frame = slice.frame_kept(columns)?;
        let may_be_seen = wall.choose(&frame, slice.timestamps());
        found.events += may_be_seen.into_iter().map(u64::from).sum::<u64>();
        let mask = chooser.choose(&frame, slice.timestamps());
        let texts = frame.texts(&query.field);
        for row in (0..frame.rows()).filter(|row| mask[*row]) {
            let Some(value) = texts.get(row).and_then(|text| query.field.value(text)) else { continue };
            if !begins(&value, prefix) {
                continue;
            }
            let at = Timestamp::from_micros(frame.timestamps()[row]);
            if let Some(seen) = found.values.get_mut(value.as_ref()) {
                seen.add(at);
            } else if found.values.len() < VALUES_SCANNED_MAX {
                found.values.insert(value.into_owned(), Seen { events: 1, first: at, last: at });
            }
        }
    }
    Ok(found)
}

fn application_out(name: &str, application: Application, prefix: &str, limit: usize) -> CatalogueApplicationOut {
    let Application { seen, fields, names, fields_left, names_left, .. } = application;
    let fields = fields.into_iter().filter(|(field, _)| begins(field, prefix));
    let mut fields: Vec<_> = fields.map(|(name, field)| field_out(&name, &field)).collect();
    fields.sort_by(|a, b| (Reverse(a.events), &a.field).cmp(&(Reverse(b.events), &b.field)));
    fields.truncate(limit);
    let names = names.iter().flat_map(|(category, names)| names.iter().map(move |(name, seen)| (category, name, seen)));
    let mut names: Vec<_> = names.map(|(category, name, seen)| name_out(category, name, *seen)).collect();
    names.sort_by(|a, b| (Reverse(a.events), &a.category, &a.name).cmp(&(Reverse(b.events), &b.category, &b.name)));
    names.truncate(limit);
    CatalogueApplicationOut {
        application: name.to_owned(),
        events: seen.events,
        first_seen: seen.first,
        last_seen: seen.last,
        names,
        names_left,
        fields,
        fields_left,
    }
}

fn name_out(category: &str, name: &str, seen: Seen) -> CatalogueNameOut {
    CatalogueNameOut {
        category: category.to_owned(),
        name: name.to_owned(),
        events: seen.events,
        first_seen: seen.first,
        last_seen: seen.last,
    }
}

fn field_out(name: &str, field: &FieldSummary) -> CatalogueFieldOut {
    let FieldSummary { seen, types, values, .. } = field;
    let mut examples: Vec<_> = values.iter().flatten().map(|(value, seen)| (Reverse(seen.events), value)).collect();
    examples.sort_unstable();
    let types = Type::ALL.into_iter().zip(types).filter(|(_, events)| **events > 0);
    CatalogueFieldOut {
        field: name.to_owned(),
        events: seen.events,
        types: types.map(|(kind, events)| TypeOut { r#type: kind.name().to_owned(), events: *events }).collect(),
        first_seen: seen.first,
        last_seen: seen.last,
        values: values.as_ref().map(|values| values.len() as u64),
        examples: examples.into_iter().take(CATALOGUE_EXAMPLES).map(|(_, value)| value.to_string()).collect(),
    }
}
