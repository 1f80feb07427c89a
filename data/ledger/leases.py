"""Leases: one holder at a time over all processes and machines that share the ledger, none for ever."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from data.ledger.database import Database, clock, insert
from data.ledger.records import LeaseBusy, LeaseLost
from data.ledger.tables import leases

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.1


class Lease:
    """A lease that is held; `lost` tells whether it expired and someone else took it."""

    def __init__(self, name: str):
        self.name = name
        self.token = uuid.uuid4().hex
        self.lost = False

    def check(self) -> None:
        """Be sure, before a step that must be alone.

        Raises:
            LeaseLost: it expired and someone else took it.
        """
        if self.lost:
            raise LeaseLost(
                f"the lease {self.name!r} expired and went to someone else; do the work again under a new one"
            )


class Leases(Database):
    """Mutual exclusion by rows that expire, on the database's clock."""

    @contextmanager
    def lease(self, name: str, seconds: float = 30.0, timeout: float = 60.0) -> Iterator[Lease]:
        """Hold the lease `name` while the body runs, waiting up to `timeout` seconds for it.

        A thread renews it; when its holder dies or stands still for `seconds`, the next one gets it.

        Raises:
            LeaseBusy: another held it all the while.
            LeaseLost: at the end, if it was lost during the body.
        """
        lease = Lease(name)
        self._wait_for(lease, seconds, timeout)
        ended = threading.Event()
        renewal = threading.Thread(target=self._keep_alive, args=(lease, seconds, ended), daemon=True)
        renewal.start()
        try:
            yield lease
        finally:
            ended.set()
            renewal.join()
            released = self._release(lease)
        if not released:
            lease.lost = True
        lease.check()

    def _wait_for(self, lease: Lease, seconds: float, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not self._take(lease, seconds):
            if time.monotonic() >= deadline:
                holder = self._holder(lease.name)
                raise LeaseBusy(f"{holder or 'another'} holds {lease.name!r}; tried for {timeout:g} s, try again later")
            time.sleep(POLL_SECONDS)

    def _take(self, lease: Lease, seconds: float) -> bool:
        with self._writing_engine.begin() as connection:
            now = clock(connection)
            values = {
                "name": lease.name,
                "token": lease.token,
                "holder": f"process {os.getpid()} on {socket.gethostname()}",
                "expires": now + seconds,
            }
            statement = insert(connection, leases).values(values)
            statement = statement.on_conflict_do_update(
                index_elements=["name"], set_=values, where=leases.c.expires < now
            )
            return connection.execute(statement).rowcount == 1

    def _keep_alive(self, lease: Lease, seconds: float, ended: threading.Event) -> None:
        while not ended.wait(seconds / 3):
            try:
                if not self._renew(lease, seconds):
                    lease.lost = True
                    return
            except sa.exc.OperationalError as error:
                logger.warning("the lease %r could not be renewed, trying again: %s", lease.name, error)

    def _renew(self, lease: Lease, seconds: float) -> bool:
        with self._writing_engine.begin() as connection:
            own = (leases.c.name == lease.name, leases.c.token == lease.token)
            statement = sa.update(leases).where(*own).values(expires=clock(connection) + seconds)
            return connection.execute(statement).rowcount == 1

    def _release(self, lease: Lease) -> bool:
        with self._writing_engine.begin() as connection:
            own = (leases.c.name == lease.name, leases.c.token == lease.token)
            return connection.execute(sa.delete(leases).where(*own)).rowcount == 1

    def _holder(self, name: str) -> str | None:
        with self._reading() as connection:
            holder: str | None = connection.execute(sa.select(leases.c.holder).where(leases.c.name == name)).scalar()
            return holder
