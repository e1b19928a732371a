//! What every command works with: the API's client and the place that the command is about.

use super::error::Error;
use super::flags::{EnvironmentChoice, PlaceFlags};
use super::settings::{Variables, configuration};
use crate::domain::ids::{ActivityId, EnvironmentName, ProjectId, SnapshotName};
use crate::wire::client::{self, Client};

#[derive(Debug)]
pub struct Session {
    pub client: Client,
    variables: Variables,
}

/// Where a command acts.
#[derive(Debug, Clone)]
pub struct Place {
    pub project: ProjectId,
    pub environment: EnvironmentName,
}

impl Place {
    /// As arguments, for a command that a message recommends.
    pub fn flags(&self) -> String {
        format!("-p {} -e {}", self.project, self.environment)
    }
}

impl Session {
    pub fn open(variables: &Variables) -> Result<Self, Error> {
        let client = Client::new(variables.url()?, variables.token()?)?;
        Ok(Self { client, variables: variables.clone() })
    }

    /// R31: may be a deploy hook or cron job inside the project's own container.
    pub fn may_be_a_hook(&self) -> bool {
        self.variables.names_project()
    }

    /// The project named, else the one of the variables, else the only one there is.
    pub fn project(&self, asked: Option<&ProjectId>) -> Result<ProjectId, Error> {
        if let Some(project) = asked.cloned().or(self.variables.project()?) {
            return Ok(project);
        }
        let mut ids: Vec<ProjectId> = self.client.projects()?.into_iter().map(|project| project.id).collect();
        match ids.len() {
            0 => Err(Error::Empty("You have no project yet".to_owned())),
            1 => Ok(ids.remove(0)),
            _ => Err(choose("project", "-p", "STILLPOINT_PROJECT", &ids)),
        }
    }

    /// The environment named, else the one of the variables, else the only one there is. Production is never assumed
    /// where there is a choice.
    pub fn place(&self, flags: &PlaceFlags) -> Result<Place, Error> {
        let project = self.project(flags.project.as_ref())?;
        let environment = match &flags.environment {
            Some(EnvironmentChoice::Named(name)) => Some(name.clone()),
            Some(EnvironmentChoice::Production) => return self.listed(project, Listed::Production),
            None if self.is_of_variables(&project)? => self.variables.branch()?,
            None => None,
        };
        match environment {
            Some(environment) => Ok(Place { project, environment }),
            None => self.listed(project, Listed::Only),
        }
    }

    /// The same, of a command that takes the environment as a word of its own too.
    pub fn place_of(&self, word: Option<&EnvironmentChoice>, flags: &PlaceFlags) -> Result<Place, Error> {
        let environment = word.or(flags.environment.as_ref()).cloned();
        self.place(&PlaceFlags { project: flags.project.clone(), environment })
    }

    /// A branch in the variables is one of the project there: it says nothing about another one given with `-p`.
    fn is_of_variables(&self, project: &ProjectId) -> Result<bool, Error> {
        Ok(self.variables.project()?.is_none_or(|of_variables| of_variables == *project))
    }

    fn listed(&self, project: ProjectId, which: Listed) -> Result<Place, Error> {
        let all = self.ask(&project, |client| client.environments(&project))?;
        let found = match which {
            Listed::Production => all.iter().find(|environment| environment.is_main),
            Listed::Only => all.first().filter(|_| all.len() == 1),
        };
        match found {
            Some(environment) => Ok(Place { environment: environment.name.clone(), project }),
            None => {
                let names: Vec<EnvironmentName> = all.into_iter().map(|environment| environment.name).collect();
                Err(choose("environment", "-e", "STILLPOINT_BRANCH", &names))
            }
        }
    }

    /// Asks the server. When it answers that something is not there, finds out whether it is the project.
    pub fn ask<T>(
        &self,
        project: &ProjectId,
        call: impl FnOnce(&Client) -> Result<T, client::Error>,
    ) -> Result<T, Error> {
        call(&self.client).map_err(|error| {
            let missing = |error: &client::Error| matches!(error, client::Error::Problem(p) if p.status == 404);
            match missing(&error) && self.client.project(project).is_err_and(|error| missing(&error)) {
                true => Error::NoProject(project.clone()),
                false => Error::Api(error),
            }
        })
    }

    /// The snapshot named, else the newest.
    pub fn snapshot(&self, place: &Place, asked: Option<&SnapshotName>) -> Result<SnapshotName, Error> {
        if let Some(name) = asked {
            return Ok(name.clone());
        }
        let backups = self.ask(&place.project, |client| client.backups(&place.project, &place.environment))?;
        let newest = backups.into_iter().max_by_key(|backup| backup.created_at);
        newest.map(|backup| backup.id).ok_or_else(|| no_snapshots(place))
    }

    /// The project and the activity named, else the environment's newest.
    pub fn activity(&self, flags: &PlaceFlags, asked: Option<&ActivityId>) -> Result<(ProjectId, ActivityId), Error> {
        if let Some(id) = asked {
            return Ok((self.project(flags.project.as_ref())?, id.clone()));
        }
        let Place { project, environment } = self.place(flags)?;
        let query = client::Query { count: Some(1), ..client::Query::default() };
        let newest = self.ask(&project, |client| client.activities(&project, Some(&environment), &query))?;
        match newest.into_iter().next() {
            Some(activity) => Ok((project, activity.id)),
            None => Err(Error::Empty(format!("There are no activities in the environment {environment}"))),
        }
    }
}

pub fn no_snapshots(place: &Place) -> Error {
    Error::Empty(format!("There are no snapshots of the environment {} yet", place.environment))
}

#[derive(Debug, Clone, Copy)]
enum Listed {
    Production,
    Only,
}

fn choose(noun: &str, flag: &str, variable: &str, names: &[impl ToString]) -> Error {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let hint = format!("Give {flag} NAME or set {variable}. There are: {}.", names.join(", "));
    configuration(&format!("it is not clear which {noun} is meant"), &hint)
}
