import pytest
from tlplat_speakers import Speakers

from tlplat.testing import DomainSuite


class TestSpeakers(DomainSuite):
    @pytest.fixture
    def domain(self):
        return Speakers()

    @pytest.fixture
    def sample(self, tmp_path):
        path = tmp_path / "new.ts"
        path.write_text("\n".join(":".join([",".join(str(0.1 * (i + k)) for k in range(25))] * 12) for i in range(3)))
        return path
