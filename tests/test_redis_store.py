"""Redis and Valkey keep the contract of a store."""

from tests.contract.differential import DifferentialContract
from tests.contract.gates import GateContract
from tests.contract.inbox import InboxContract
from tests.contract.library_cases import library_cases
from tests.contract.log_recorder import LogRecorderContract
from tests.contract.rooms import RoomContract
from tests.contract.shared_log import SharedLogContract
from tests.contract.shedding import SheddingContract
from tests.redis_stores import STORES
from tests.servers import NO_SERVER

for store in STORES:  # pytest collects a module's globals
    globals().update(library_cases(store))
    for contract, subject in (
        ((DifferentialContract,), "AgainstReference"),
        ((LogRecorderContract, SharedLogContract), "Log"),
        ((InboxContract,), "Inbox"),
        ((GateContract, RoomContract), "Gates"),
        ((SheddingContract,), "Shedding"),
    ):
        name = f"Test{subject}_{store.name}"
        globals()[name] = type(name, contract, {"store": store})


def test_a_server_is_there_to_test_on() -> None:
    assert STORES, NO_SERVER
