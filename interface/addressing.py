from uuid import UUID

from application.callosum import CorpusCallosum


async def dialogue_named(callosum: CorpusCallosum, name: str) -> UUID:
    return UUID(name)
