import pytest
from tlplat_freezeout import FreezeOutStrategy

from tlplat.testing import StrategySuite


class TestFreezeOut(StrategySuite):
    @pytest.fixture
    def strategy(self):
        return FreezeOutStrategy()
