import torch

from cait_mm.ops.attention import Attention, set_fused_attn, size_bias


def by_hand(module, x):
    """Softmax attention written out."""
    batch, tokens, _ = x.shape
    heads, qk, v_dim = module.num_heads, module.qk_dim, module.v_dim
    q, k, v = module.qkv(x).split([heads * qk, heads * qk, heads * v_dim], dim=-1)
    q, k, v = (part.view(batch, tokens, heads, -1).permute(0, 2, 1, 3) for part in (q, k, v))
    attention = (q @ k.transpose(-2, -1) * module.scale).softmax(-1)
    return module.proj((attention @ v).permute(0, 2, 1, 3).reshape(batch, tokens, heads * v_dim))


def test_equals_softmax_attention_at_any_width():
    x = torch.randn(2, 7, 24)
    for qk_dim, v_dim in ((8, 8), (5, 8), (8, 3), (1, 1)):
        module = Attention(24, 3, qk_dim, v_dim, head_dim=8)
        torch.testing.assert_close(module(x), by_hand(module, x), atol=1e-5, rtol=1e-5)


def test_scale_is_the_dense_one_so_that_dropping_zero_channels_changes_nothing():
    dense, narrow = Attention(24, 3, 8, 8, head_dim=8), Attention(24, 3, 5, 6, head_dim=8)
    kept_qk, kept_v = [0, 2, 3, 5, 7], [0, 1, 2, 4, 6, 7]
    with torch.no_grad():
        parts = zip(dense.qkv.weight.view(3, 3, 8, 24), dense.qkv.bias.view(3, 3, 8), (kept_qk, kept_qk, kept_v))
        for weight, bias, kept in parts:
            for channel in set(range(8)) - set(kept):
                weight[:, channel] = 0
                bias[:, channel] = 0
        rows = [part * 24 + head * 8 + channel for part, kept in enumerate((kept_qk, kept_qk, kept_v))
                for head in range(3) for channel in kept]
        columns = [head * 8 + channel for head in range(3) for channel in kept_v]
        narrow.qkv.weight.copy_(dense.qkv.weight[rows])
        narrow.qkv.bias.copy_(dense.qkv.bias[rows])
        narrow.proj.weight.copy_(dense.proj.weight[:, columns])
        narrow.proj.bias.copy_(dense.proj.bias)
    x = torch.randn(2, 9, 24)
    torch.testing.assert_close(narrow(x), dense(x), atol=1e-5, rtol=1e-5)


def test_unfused_equals_fused_with_and_without_a_bias():
    module, x = Attention(24, 3, 5, 6, head_dim=8), torch.randn(2, 7, 24)
    for bias in (None, torch.randn(1, 3, 7, 7)):
        fused = module(x, bias)
        set_fused_attn(torch.nn.Sequential(module), False)
        torch.testing.assert_close(module(x, bias), fused, atol=1e-6, rtol=1e-5)
        set_fused_attn(module, True)


def test_size_bias_counts_a_merged_token_as_often_as_it_has_patches():
    attention, x, patches = Attention(12, 2, 6, 6, 6), torch.randn(2, 5, 12), 4
    repeated = torch.cat([x[:, :1], x[:, 1:].repeat_interleave(patches, 1)], 1)
    wanted = attention(repeated)[:, [0, *range(1, 1 + 4 * patches, patches)]]
    got = attention(x, size_bias(x, 1, torch.tensor(patches).log()))
    torch.testing.assert_close(got, wanted)
