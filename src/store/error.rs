//! What can go wrong in the store. Constraints become words of the domain here, by their names.

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the database address must begin with `sqlite:` or `postgres:`")]
    UnknownDatabase,
    #[error("{0} is already taken")]
    Taken(&'static str),
    #[error("the database failed: {0}")]
    Database(#[source] sqlx::Error),
    #[error("the database could not be brought up to date")]
    Migration(#[from] sqlx::migrate::MigrateError),
    #[error("a stored {what} can't be read")]
    Corrupt {
        what: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("a stored secret can't be opened: the installation's key is not the one it was sealed with")]
    WrongKey,
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let taken = error.as_database_error().and_then(|database| {
            // SQLite names the columns, PostgreSQL the constraint.
            let name = database.constraint().map_or_else(|| database.message().to_owned(), str::to_owned);
            [
                ("users_email_unique", "users.email", "this e-mail address"),
                ("environments_name_unique", "environments.name", "this environment name"),
                ("tickets_unfinished", "tickets.wants", "what this ticket asks for"),
            ]
            .into_iter()
            .find(|(constraint, column, _)| name.contains(constraint) || name.contains(column))
            .map(|(_, _, words)| words)
        });
        taken.map_or(Self::Database(error), Self::Taken)
    }
}

impl Error {
    pub(super) fn corrupt<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
        what: &'static str,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Corrupt { what, source: source.into() }
    }
}
