"""Alembic's entry: runs the revisions on the connection that `Ledger.upgrade` holds."""

from alembic import context

from data.ledger.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
context.run_migrations()
