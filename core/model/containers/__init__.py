"""The files that hold tensors, whatever those are called: `torch.save` files and safetensors."""
