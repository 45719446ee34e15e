"""Models that are trained on several machines: the map is that of the plain network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from helpers.plain_network import (
    IMAGES,
    assert_same,
    compiled,
    explain,
    net,
    process_group,
    run,
)
from helpers.tolerances import assert_agrees
from limelight.errors import ModelError


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    with process_group(tmp_path):
        yield


def fsdp(model: nn.Module, *, within: bool = False, **options: Any) -> nn.Module:
    from torch.distributed.fsdp import FullyShardedDataParallel, ShardingStrategy
    from torch.distributed.fsdp.wrap import ModuleWrapPolicy

    return FullyShardedDataParallel(
        model,
        sharding_strategy=ShardingStrategy.NO_SHARD,  # what becomes of the others in one process
        auto_wrap_policy=ModuleWrapPolicy({nn.Sequential, nn.Conv2d}) if within else None,
        device_id=torch.device("cpu"),
        **options,
    )


def fsdp2(model: nn.Module, *, within: bool = False) -> nn.Module:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    if not hasattr(torch.cpu.Stream, "record_event"):
        pytest.skip("this torch cannot run fully_shard on a CPU")
    mesh = init_device_mesh("cpu", (1,))
    for module in (model.stem, model.conv, model.fc) if within else ():
        fully_shard(cast("nn.Module", module), mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


DISTRIBUTED: dict[str, Callable[[nn.Module], nn.Module]] = {
    "DDP": nn.parallel.DistributedDataParallel,
    "compiled DDP": lambda model: compiled(nn.parallel.DistributedDataParallel(model)),
    "FSDP2": fsdp2,
    "FSDP2 within": lambda model: fsdp2(model, within=True),
}


def distributed(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test in a group, without what torch says of its own old ways."""
    quiet = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
    return cast("Callable[..., None]", pytest.mark.usefixtures("group")(quiet(test)))


every_distribution = pytest.mark.parametrize("how", DISTRIBUTED)


@distributed
@pytest.mark.parametrize("method", ["gradcam", "ablationcam", "saliency"])
@every_distribution
def test_distributed(how: str, method: str) -> None:
    """What is spread out is looked through: same layer, same map."""
    model = DISTRIBUTED[how](net())
    assert_agrees(run(model), run(net()))
    assert_same(model, method)
    if method != "saliency":
        assert_same(model, method, layer="conv")
    assert_agrees(run(model.eval()), run(net()))


@distributed
@pytest.mark.parametrize("method", ["gradcam", "ablationcam", "saliency"])
@pytest.mark.parametrize(("within", "original"), [(False, False), (False, True), (True, True)])
def test_fully_sharded(within: bool, original: bool, method: str) -> None:
    """With the weights put together, as the error says: same layer, same map; and it goes on."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    model = fsdp(net(), within=within, use_orig_params=original)
    with pytest.raises(ModelError, match=r"summon_full_params\(model, writeback=False\)"):
        explain(model, method)
    with FullyShardedDataParallel.summon_full_params(model, writeback=False):
        assert_same(cast("nn.Module", model.module), method)
    assert_agrees(run(model.eval()), run(net()))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(IMAGES).square().sum().backward()
    optimizer.step()
    assert (run(model) - run(net())).abs().max() > 1e-3


@distributed
@every_distribution
@pytest.mark.parametrize("when", ["before", "between forward and backward", "after"])
def test_training_goes_on_distributed(when: str, how: str) -> None:
    """The model learns what it learns without an explanation in the loop."""

    def explain_if(now: str, model: nn.Module) -> None:
        if when == now:
            for method in ("saliency", "gradcam"):
                explain(model, method)

    def trained(model: nn.Module, explain_if: Callable[[str, nn.Module], None]) -> Tensor:
        explain_if("before", model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(3):
            torch.manual_seed(step)  # it has a dropout
            loss = model.train()(IMAGES).square().sum()
            explain_if("between forward and backward", model)
            loss.backward()
            explain_if("after", model)
            optimizer.step()
            optimizer.zero_grad()
        return run(model.eval())

    alone = trained(DISTRIBUTED[how](net()), lambda _now, _model: None)
    assert_agrees(alone, trained(net(), lambda _now, _model: None))
    assert (alone - run(net())).abs().max() > 1e-3
    assert_agrees(trained(DISTRIBUTED[how](net()), explain_if), alone)
