"""A step of pretraining, block by block: one block of each image is hidden."""

from rffr_jax.method.blocks import BlockGrid
from scripts.step_cost.cost import (
    LAYERS,
    Cost,
    Step,
    compiled_cost,
    layer_values,
    mae_flops,
    mae_weights,
    recomputed_flops,
    use_simulated_devices,
)


def by_hand(step: Step) -> Cost:
    """The formulas of `scripts.step_cost`.

    Raises:
      UserError: sizes, blocks or a mesh that do not fit.
    """
    images, shape, patches = step.images, step.model.shape, step.model.grid**2
    hidden = BlockGrid(step.model.grid, step.k).side ** 2
    w, d, values = shape.width, shape.decoder_width, step.values
    seen, tokens = 1 + patches - hidden, 1 + patches
    recomputed = 0
    if step.remat:
        recomputed = (
            shape.depth * recomputed_flops(seen, seen, w)
            + (shape.decoder_depth - 1) * recomputed_flops(tokens, tokens, d)
            + recomputed_flops(tokens, hidden, d)
        )
    weights, vectors = mae_weights(shape, values)
    activations = step.item * images * _kept_values(step)
    n, m = step.devices, step.fsdp
    of_layers = 12 * (shape.depth * w**2 + shape.decoder_depth * d**2)
    times = (5 / 3 if step.remat else 1) if step.gather == LAYERS else 0
    gathers = (m - 1) / m * 4 * (weights - vectors + times * of_layers)
    beside_state = 1 / m if step.gather == LAYERS else 1 if m == 1 else 2
    forward = mae_flops(shape, patches, hidden, values)
    return Cost(
        flops=images * (3 * forward + recomputed + 4 * patches * values * w),
        memory=32 * weights / m + 2 * step.item * weights + 2 * activations,
        network=gathers + 2 * (n - 1) / n * 4 * weights,
        input=images * (3 * step.image_size**2 + 4 * patches + 4),
        held=12 * weights / m + 4 * weights * beside_state + activations,
    )


def _kept_values(step: Step) -> int:
    """Values that gradients read of an image.

    With `remat` the input of every layer, and all of the largest layer.
    """
    shape, tokens = step.model.shape, 1 + step.model.grid**2
    stacks = (
        (shape.depth, shape.width, shape.heads),
        (shape.decoder_depth, shape.decoder_width, shape.decoder_heads),
    )
    of_layer = [layer_values(tokens, width, heads) for _, width, heads in stacks]
    if step.remat:
        return max(of_layer) + sum(depth * tokens * width for depth, width, _ in stacks)
    return sum(depth * values for (depth, *_), values in zip(stacks, of_layer, strict=True))


def compiled(step: Step) -> Cost:
    """The same of the program that XLA compiles for simulated CPU devices; to be called once in a
    process that has not used JAX yet.

    Raises:
      UserError: sizes or a mesh that do not fit.
    """
    use_simulated_devices(step)
    import jax

    from configs import pretrain
    from rffr_jax.cluster.sharding import make_mesh
    from rffr_jax.data.pipeline import empty_batch
    from rffr_jax.training.mae_training import MAETraining

    config = pretrain.get_config()
    config.update(batch_size=step.batch, dtype=step.dtype, remat=step.remat)
    for name in ("size", "image_size", "patch_size"):
        config.model[name] = getattr(step, name)
    config.blocks.k = step.k
    mesh = make_mesh(step.fsdp)
    training = MAETraining(config, mesh)
    inputs = training.inputs(empty_batch(step.batch, step.image_size, 0), 0, slice(0, step.batch))

    def losses(parameters, frozen, batch):
        return {"loss": training.losses(parameters, batch)}, {}

    parameters = jax.eval_shape(training.init_parameters)
    return compiled_cost(losses, parameters, {}, inputs, config, mesh)
