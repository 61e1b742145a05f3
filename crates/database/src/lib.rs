//! Migrations, rows and every SQL statement.
